// Names change, entries move and go, directories are made.

/** How long a deletion waits for a change of mind. */
const HELD_TIME = 8_000;
/** Entries whose deletion waits: their values, and what sends it. */
const held = new Map();
/** Deletions that are on their way. */
let deletions = Promise.resolve();

/** Deletes rows: they are gone from the list at once, and from the server after a while without an undo. */
function deleteRows(list) {
  if (list.length === 0) return;
  const values = list.map((row) => boxOf(row).value);
  const after = shownRows().find((row) => !list.includes(row) && row.rowIndex > list[0].rowIndex);
  const name = list.length === 1 ? nameOf(list[0]) : "";
  const put = (isHidden) => {
    for (const value of values) {
      const row = rowOf(value);
      if (row) boxOf(row).checked = false, row.hidden = isHidden;
    }
    showSelection();
  };
  const isWaiting = () => values.some((value) => held.has(value));
  const commit = (keepalive = false) => {
    if (!isWaiting()) return;
    clearTimeout(timer);
    close();
    for (const value of values) held.delete(value);
    const one = (value) => send("DELETE", page.path + value, { keepalive });
    const outcomes = [];
    // A page that is being left sends all at once.
    if (keepalive) return void values.forEach((value) => one(value).catch(() => {}));
    const all = async () => {
      for (const value of values) outcomes.push(await one(value).then(() => {}, (error) => error));
      forgetMade();
      const failure = outcomes.find((error) => error && error.status !== 404);
      if (failure) tellFailure(say("not_deleted", { name: name || say("entries", { count: values.length }) }), failure);
      listChanged();
    };
    deletions = Promise.all([deletions, all()]);
  };
  const undo = () => {
    clearTimeout(timer);
    for (const value of values) held.delete(value);
    put(false);
    (linkOf(rowOf(values[0]) ?? document) ?? document.body).focus();
  };
  for (const value of values) held.set(value, { commit, undo: () => { close(); undo(); } });
  put(true);
  const text = list.length === 1 ? say("deleted", { name }) : say("deleted_many", { count: list.length });
  const close = tell(text, { action: say("undo"), onAction: undo, time: 0 });
  const timer = setTimeout(commit, HELD_TIME);
  if (after) linkOf(after).focus({ preventScroll: true });
}

/** Takes the last deletion back that waits. */
const undoLast = () => [...held.values()].at(-1)?.undo();
// Who leaves the page has seen them gone: so they go.
on(window, "pagehide", () => { for (const { commit } of new Set(held.values())) commit(true); });

/** A name that is about to be given again: its deletion waits no longer, or it would take what is new. */
async function freeName(url) {
  const slashed = (path) => `${decoded(path).replace(/\/$/, "")}/`;
  for (const [value, { commit }] of [...held]) if (slashed(url).startsWith(slashed(page.path + value))) commit();
  await deletions;
}

/** Gives what is at a URL another one. True: done. */
async function move(from, to, name) {
  try {
    await freeName(to);
    await send("MOVE", from, { headers: { Destination: to, Overwrite: "F" } });
    forgetMade();
    return true;
  } catch (error) {
    tellNotGiven("not_moved", name, error);
    return false;
  }
}

/** Selects a name without its ending: that is what mostly changes. */
function selectStem(field, hasEnding) {
  const dot = field.value.lastIndexOf(".");
  field.setSelectionRange(0, hasEnding && dot > 0 ? dot : field.value.length);
}

/** Lets a name be changed where it stands. */
function renameRow(row) {
  const [value, name, link] = [boxOf(row).value, nameOf(row), linkOf(row)];
  const slash = value.endsWith("/") ? "/" : "";
  const old = decoded(slash ? value.slice(0, -1) : value);
  const label = say("new_name", { name });
  const field = make("input", { type: "text", value: old, className: "renaming", ariaLabel: label });
  let isOver = false;
  const end = async (isTaken) => {
    if (isOver) return;
    isOver = true;
    const wanted = field.value.trim();
    const isChanged = isTaken && wanted !== "" && wanted !== old;
    if (isChanged && (wanted.includes("/") || wanted === "." || wanted === "..")) {
      tellError(say("no_name", { name: wanted }));
    } else if (isChanged && await move(urlOf(row), page.path + encodeURIComponent(wanted) + slash, wanted)) {
      link.textContent = wanted + slash;
      boxOf(row).value = encodeURIComponent(wanted) + slash;
      listChanged();
    }
    field.replaceWith(link);
    link.focus({ preventScroll: true });
  };
  on(field, "keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Enter") event.preventDefault(), end(true);
    if (event.key === "Escape") end(false);
  });
  on(field, "blur", () => end(true));
  link.replaceWith(field);
  field.focus();
  selectStem(field, !slash);
}

async function newFolder() {
  const name = (await askName(say("new_folder"), say("make")))?.trim();
  if (!name) return;
  const url = `${page.path}${encodeURIComponent(name)}/`;
  try {
    await freeName(url);
    await send("MKCOL", url);
    listChanged();
  } catch (error) {
    tellNotGiven("not_made", name, error);
  }
}

/** Moves rows to a directory. */
async function moveTo(list, directory) {
  let count = 0;
  for (const row of list) {
    const value = boxOf(row).value;
    if (directory === page.path || directory.startsWith(urlOf(row))) continue;
    count += Number(await move(urlOf(row), directory + value, nameOf(row)));
  }
  if (count > 0) tell(say("moved", { count, folder: decoded(directory) }));
  listChanged();
}

/** Asks for the directory: the person walks there. */
async function moveRows(list) {
  if (list.length === 0) return;
  let directory = page.path;
  const answers = [{ value: "yes", label: say("move_here"), kind: "main" }, { value: "", label: say("cancel") }];
  const chosen = await ask(say("move_title", { count: list.length, name: nameOf(list[0]) }), answers, (form) => {
    const where = make("p", { className: "where", "aria-live": "polite" });
    const folders = make("ul", { className: "folders" });
    const walk = async (to) => {
      try {
        const { entries } = await (await send("GET", `${to}?json`, { headers: { Accept: "application/json" } })).json();
        directory = to;
        where.textContent = decoded(to);
        const names = entries.filter(({ kind, href }) => kind === "dir" && href);
        const open = (href, label) => make("li", {}, button(label, () => walk(href), { className: "folder" }));
        folders.replaceChildren(...(to === "/" ? [] : [open(to.replace(/[^/]+\/$/, ""), `↑ ${say("up")}`)]),
          ...names.map(({ href }) => open(to + href, decoded(href.slice(0, -1)))));
      } catch (error) {
        tellFailure(say("not_opened", { name: decoded(to) }), error);
      }
    };
    form.append(where, folders);
    walk(directory);
  });
  if (chosen === "yes") moveTo(list, directory);
}
