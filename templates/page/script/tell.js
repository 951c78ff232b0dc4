// What the page tells: a line that goes by itself, a bar that stays until its cause is gone, a question.

const status = find("#status");
const TOLD_TIME = 6_000;

/** A short message, with one thing to do about it. It returns what takes it away. */
function tell(text, { action, onAction, isError = false, time = TOLD_TIME } = {}) {
  const line = make("p", { className: isError ? "toast error" : "toast" }, make("span", {}, text));
  const close = () => line.remove();
  if (action) line.append(button(action, () => { close(); onAction(); }));
  else if (isError) line.append(iconButton("close", say("close"), close));
  status.append(line);
  while (status.childElementCount > 4) status.firstElementChild.remove();
  if (time) setTimeout(close, isError ? time * 2 : time);
  return close;
}

const tellError = (text) => tell(text, { isError: true });

/** A bar over the page that says what keeps it from working. One of a kind. */
const bars = new Map();
function showBar(kind, text, ...buttons) {
  if (bars.has(kind)) return;
  const bar = make("div", { className: `bar ${kind}`, role: "alert" }, make("p", {}, text), ...buttons);
  bars.set(kind, bar);
  document.body.prepend(bar);
}
function hideBar(kind) {
  bars.get(kind)?.remove();
  bars.delete(kind);
}

/** A machine without a network may still reach a server of its own: so the server is asked. */
async function showOffline() {
  const isThere = navigator.onLine || await fetch(page.path, { method: "HEAD" }).then(() => true, () => false);
  if (isThere) hideBar("offline");
  else showBar("offline", say("offline"));
}
on(window, "online", showOffline);
on(window, "offline", showOffline);
showOffline();

/** The sign-in was ended, or never gave this: what it allowed goes, and what waits stays in sight. */
function accessEnded() {
  may.clear();
  for (const upload of uploads.filter(isUnderWay)) {
    upload.why = say("access_ended_short");
    setState(upload, "paused");
  }
  document.body.classList.add("ended");
  const href = `${find("#path a")?.href ?? ""}?sign-in&to=${encodeURIComponent(page.path)}`;
  showBar("ended", say("access_ended"), make("a", { href }, say("sign_in_again")));
}

/**
 * A question in a dialog. `fill` gets its form and puts fields there; answers are buttons by value. The result is
 * the value of the chosen one, and "" if the person leaves.
 */
function ask(title, answers, fill = () => {}) {
  const form = make("form", { method: "dialog" }, make("h2", {}, title));
  const dialog = make("dialog", {}, form);
  fill(form, dialog);
  form.append(make("div", { className: "answers" }, answers.map(({ value, label, kind }, at) =>
    make("button", { value, className: kind ?? "", autofocus: at === 0 && !find("[type=text]", form) }, label))));
  document.body.append(dialog);
  dialog.ariaLabel = title;
  on(dialog, "click", (event) => event.target === dialog && dialog.close(""));
  return new Promise((resolve) => {
    on(dialog, "close", () => { dialog.remove(); resolve(dialog.returnValue); });
    dialog.showModal();
  });
}

/** Asks for a name; undefined if the person leaves. */
async function askName(title, label) {
  let field;
  const answers = [{ value: "yes", label, kind: "main" }, { value: "", label: say("cancel") }];
  const chosen = await ask(title, answers, (form) => {
    field = make("input", { type: "text", autocomplete: "off", required: true, ariaLabel: say("name") });
    form.append(field);
  });
  return chosen === "yes" && field.value.trim() !== "" ? field.value : undefined;
}
