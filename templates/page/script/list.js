// The list of a directory: what a row is, and how the list is made anew in place after a change.

const isList = page.page === "list" && Boolean(find("#list"));
const canModify = () => may.has("modify");

const rowsOf = () => findAll("#list tbody tr");
const shownRows = () => rowsOf().filter((row) => !row.hidden && boxOf(row));
const boxOf = (row) => find("input[name=name]", row);
const linkOf = (row) => find("td:nth-child(2) a", row);
/** The URL of what a row shows; a directory's ends with a slash. */
const urlOf = (row) => page.path + boxOf(row).value;
const nameOf = (row) => boxOf(row).ariaLabel;
/** A browser and the server may encode a character differently. */
const isValue = (row, value) => row && boxOf(row) && decoded(boxOf(row).value) === decoded(value);
const rowOf = (value) => rowsOf().find((row) => isValue(row, value));

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not UTF-8.
    return text;
  }
}

/** What the list is made of, in the order in which it stands. */
const PARTS = ["empty", "selection", "pages", "archives", "readme"];

/** Gets the page again, and puts its list in the place of this one. Selection, focus and scroll stay. */
async function refreshList() {
  let text;
  try {
    text = await (await send("GET", location.href, { headers: { Accept: "text/html" } })).text();
  } catch (error) {
    if (error instanceof Refused && error.status === 403) accessEnded();
    return;
  }
  // A name that is being written is not taken away.
  if (find("#list .renaming")) return;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const chosen = new Set(selected().map((row) => boxOf(row).value));
  const focused = document.activeElement?.closest?.("#list tr");
  const focusedValue = focused && boxOf(focused)?.value;
  const onBox = document.activeElement?.name === "name";
  let before = find("#queue");
  for (const id of PARTS) {
    const [there, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (there && next) there.replaceWith(next);
    else if (there) there.remove();
    else if (next) before.after(next);
    if (next) before = next;
  }
  if (!find("#list")) return;
  localTimes(find("#selection"));
  for (const row of rowsOf()) if (chosen.has(boxOf(row)?.value)) boxOf(row).checked = true;
  dressList();
  const row = focusedValue && rowOf(focusedValue);
  if (row) (onBox ? boxOf(row) : linkOf(row)).focus({ preventScroll: true });
}

/** Something in a directory has changed: several changes are one refresh, and one that comes meanwhile is another. */
let isStale = false;
let isRefreshing = false;
async function listChanged(base = page.path) {
  if (!isList || base !== page.path) return;
  isStale = true;
  if (isRefreshing) return;
  isRefreshing = true;
  while (isStale) {
    await pause(400);
    isStale = false;
    await refreshList();
  }
  isRefreshing = false;
}

/** What the document leaves out, to be short: what a box is for, and of a file the way to itself and to its page. */
function dressRow(row) {
  const [box, link] = [boxOf(row), linkOf(row)];
  if (!box) return;
  box.ariaLabel = link.textContent.replace(/\/$/, "");
  if (row.dataset.kind === "dir") return;
  link.after(make("a", { href: link.href, download: "", ariaLabel: say("download") }));
  if (link.matches("[data-view]")) link.href += "?view";
}

/** What the script adds to a list. */
function dressList() {
  rowsOf().forEach(dressRow);
  const head = find("#list thead th");
  const all = make("input", { type: "checkbox", ariaLabel: say("select_all") });
  on(all, "change", () => selectAll(all.checked));
  head.replaceChildren(all);
  // A long touch is the browser's own.
  if (canModify() && !isTouch) for (const row of rowsOf()) row.draggable = true;
  dressBar();
  filterList();
}
