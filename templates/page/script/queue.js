// The queue of uploads: one for the page, a few at once, a row for each.

const AT_ONCE = 3;
/** Rows that are shown: a folder of many thousand files must not fill the page. */
const ROWS_MAX = 60;
const uploads = [];
const { title } = document;
const panel = find("#queue");
const rows = make("ul", { className: "uploads" });
const total = make("progress", { max: 1, ariaLabel: say("all_uploads") });
const totalText = make("strong", {});
const more = make("p", { className: "more" });
const pauseAll = button(say("pause_all"), () => setAll("sending", "waiting", "paused"));
const goOn = button(say("continue_all"), () => setAll("paused", "failed", "waiting"), { className: "change" });
const clear = button(say("clear"), clearEnded);

/** Uploads that are not over. */
const isOpen = ({ state }) => !["done", "skipped", "failed", "canceled"].includes(state);
const isUnderWay = ({ state }) => ["sending", "waiting"].includes(state);
const count = (...states) => uploads.filter(({ state }) => states.includes(state)).length;

/** Puts files into the queue. `files` are pairs of a File and its path below `base`. */
function enqueue(base, files) {
  const batch = {};
  const added = [];
  for (const { file, path } of files) {
    const isSame = (one) => one.base === base && one.path === path && one.size === file.size &&
      one.modified === file.lastModified && isOpen(one);
    const left = uploads.find(isSame);
    if (left) {
      // Chosen again: it goes on where it was.
      left.file = file;
      if (["needs_file", "paused"].includes(left.state)) setState(left, "waiting");
      continue;
    }
    added.push(addUpload({
      id: `${Date.now()}-${Math.random()}`, base, path, size: file.size, modified: file.lastModified, file,
      condition: { "If-None-Match": "*" }, batch, state: "waiting",
    }));
  }
  keepUploads(added);
  pump();
}

function addUpload(fields) {
  const upload = { sent: 0, isUnsure: Boolean(fields.url), stopper: new AbortController(), ...fields };
  uploads.push(upload);
  return upload;
}

/** Starts what waits, as far as there is room. */
function pump() {
  for (const upload of uploads) {
    if (count("sending") >= AT_ONCE || !may.has("upload")) break;
    if (upload.state !== "waiting") continue;
    upload.state = "sending";
    upload.why = undefined;
    upload.stopper = new AbortController();
    carry(upload);
  }
  showSoon();
}

function setState(upload, state) {
  upload.state = state;
  if (state !== "sending") {
    upload.stopper.abort();
    upload.isUnsure = Boolean(upload.url);
    upload.isLost = false;
    upload.speed = undefined;
  }
  pump();
}

function setAll(...states) {
  const to = states.pop();
  for (const upload of uploads) if (states.includes(upload.state) && upload.file) setState(upload, to);
}

/** An upload is over. */
function endUpload(upload, state, why) {
  upload.why = why;
  if (state === "done") upload.sent = upload.size;
  forgetUpload(upload);
  setState(upload, state);
  if (state === "done") listChanged(upload.base);
  if (count("sending", "waiting") === 0) tellEnd();
  return false;
}

function tellEnd() {
  const [done, failed] = [count("done"), count("failed")];
  if (failed > 0) tellError(say("some_failed", { count: failed }));
  else if (done > 0) tell(say("uploaded", { count: done }));
}

function cancelUpload(upload) {
  if (upload.url) send("DELETE", upload.url).catch(() => {});
  endUpload(upload, "canceled");
  removeRow(upload);
}

function removeRow(upload) {
  uploads.splice(uploads.indexOf(upload), 1);
  upload.row?.remove();
  showSoon();
}

function clearEnded() {
  for (const upload of uploads.filter((one) => !isOpen(one))) removeRow(upload);
}

/** What stands under an upload's name. */
function describe(upload) {
  const { state, size, sent } = upload;
  const percent = size > 0 ? Math.floor((sent / size) * 100) : 0;
  if (state === "done") return `${sizeText(size)} · ${say("done")}`;
  if (state === "skipped") return say("skipped");
  if (state === "failed") return `${say("failed")}: ${upload.why}`;
  if (state === "waiting") return `${sizeText(size)} · ${say(upload.url ? "waiting_at" : "waiting", { percent })}`;
  if (state === "needs_file") return say("needs_file", { percent });
  if (state === "paused") return upload.why ?? say("paused_at", { percent });
  if (upload.isLost) return say("lost_at", { percent });
  const parts = [`${sizeText(sent)} / ${sizeText(size)}`];
  if (upload.from > 0) parts.unshift(say("continued_at", { percent: Math.floor(upload.from * 100) }));
  if (upload.speed > 0) {
    parts.push(`${sizeText(upload.speed)}/s`, say("left", { time: durationText((size - sent) / upload.speed) }));
  }
  return parts.join(" · ");
}

function makeRow(upload) {
  const name = make("bdi", { className: "name", title: upload.path });
  const text = make("span", { className: "text" });
  const bar = make("progress", { max: 1 });
  const actions = make("span", { className: "actions" });
  upload.row = make("li", {}, name, actions, bar, text);
  Object.assign(upload.row, { name, text, bar, actions });
}

function showRow(upload) {
  const { row, state } = upload;
  row.name.textContent = upload.path;
  row.bar.ariaLabel = upload.path;
  row.text.textContent = describe(upload);
  row.bar.value = upload.size > 0 ? upload.sent / upload.size : Number(state === "done");
  row.bar.hidden = !isOpen(upload);
  if (row.dataset.state === state) return;
  const hadFocus = row.actions.contains(document.activeElement);
  row.dataset.state = state;
  const act = (symbol, key, work) => iconButton(symbol, say(key, { name: upload.path }), work);
  const [pauses, goesOn] = ["paused", "waiting"].map((to) => () => setState(upload, to));
  const acts = [];
  if (isUnderWay(upload)) acts.push(act("pause", "pause_one", pauses));
  if (state === "paused") acts.push(act("play", "continue_one", goesOn));
  if (state === "failed") acts.push(act("play", "again_one", goesOn));
  if (state === "needs_file") acts.push(button(say("choose_again"), () => chooseAgain(upload), { className: "change" }));
  if (isOpen(upload)) acts.push(act("close", "cancel_one", () => cancelUpload(upload)));
  row.actions.replaceChildren(...acts);
  if (hadFocus) find("button", row.actions)?.focus();
}

/** Asks for the file of an upload that was left, because the browser does not have it any more. */
function chooseAgain(upload) {
  const input = make("input", { type: "file" });
  on(input, "change", () => {
    const [file] = input.files;
    if (!file) return;
    const name = upload.path.slice(upload.path.lastIndexOf("/") + 1);
    if (file.name !== name || file.size !== upload.size || file.lastModified !== upload.modified) {
      return tellError(say("other_file", { name }));
    }
    upload.file = file;
    setState(upload, "waiting");
  });
  input.click();
}

let isShown = false;
function showSoon() {
  if (isShown) return;
  isShown = true;
  requestAnimationFrame(() => { isShown = false; showQueue(); });
}

function showQueue() {
  if (!panel) return;
  panel.hidden = uploads.length === 0;
  if (panel.hidden) return;
  if (!panel.firstElementChild) {
    const answers = make("p", { className: "answers" }, pauseAll, goOn, clear);
    panel.append(make("details", { open: true }, make("summary", {}, totalText, total), rows, more, answers));
  }
  // Those in which something happens first, then the next ones.
  const order = ["failed", "needs_file", "sending", "paused", "waiting", "skipped", "done"];
  const shown = uploads.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state)).slice(0, ROWS_MAX);
  const kept = new Set(shown);
  for (const upload of uploads) if (!kept.has(upload)) upload.row?.remove();
  for (const upload of uploads) {
    if (!kept.has(upload)) continue;
    if (!upload.row) makeRow(upload);
    if (!upload.row.isConnected) rows.append(upload.row);
    showRow(upload);
  }
  more.textContent = uploads.length > shown.length ? say("and_more", { count: uploads.length - shown.length }) : "";
  const sum = (key) => uploads.reduce((all, upload) => all + upload[key], 0);
  const [size, done, open] = [sum("size"), count("done"), uploads.filter(isOpen).length];
  total.value = size > 0 ? sum("sent") / size : Number(open === 0);
  totalText.textContent = open > 0
    ? say("uploading", { done, count: uploads.length, percent: Math.floor(total.value * 100) })
    : say("uploaded", { count: done });
  document.title = open > 0 ? `${Math.floor(total.value * 100)} % · ${title}` : title;
  pauseAll.hidden = count("sending", "waiting") === 0;
  goOn.hidden = count("paused", "failed") === 0;
  clear.hidden = open === uploads.length;
}

/** Uploads that an earlier page of this tab has left go on; those of a tab that is gone wait for a word. */
async function goOnWithLeft() {
  for (const one of await leftUploads()) {
    const state = !one.file ? "needs_file" : one.tab === tab ? "waiting" : "paused";
    addUpload({ ...one, isKept: true, batch: goOnWithLeft, state, from: 0 });
  }
  listenToTabs();
  pump();
}

// What the browser keeps goes on after a reload. What it does not keep would have to be chosen again.
on(window, "beforeunload", (event) => {
  if (uploads.some((upload) => isUnderWay(upload) && !upload.isKept)) event.preventDefault();
});
// A page that is left sends nothing more: while files are sent, the list changes in place, and the rest is a new tab.
let isTold = false;
on(document, "click", (event) => {
  const link = event.target.closest?.("a[href]:not([download], [href^='#'])");
  if (!link || event.defaultPrevented) return;
  const isBusy = uploads.some(isUnderWay);
  if (isBusy && isList && link.closest("thead, #pages")) {
    event.preventDefault();
    history.pushState(null, "", link.href);
    refreshList();
    return;
  }
  link.target = isBusy ? "_blank" : "";
  if (isBusy && !isTold) tell(say("new_tab"));
  isTold ||= isBusy;
});
on(window, "popstate", () => { if (isList) refreshList(); });
// What a restored page believes of its uploads is no longer so.
on(window, "pageshow", (event) => { if (event.persisted && uploads.length > 0) location.reload(); });
for (const form of findAll("form[action$='?sign-out']")) on(form, "submit", forgetAllUploads);
