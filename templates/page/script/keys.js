// Keys: everything that a mouse does. They are quiet in fields and dialogs.

const KEYS = ["j_k", "space", "shift", "enter", "all", "escape", "delete", "f2", "undo", "slash", "help"];

function showKeys() {
  const shown = canModify() ? KEYS : KEYS.filter((key) => !["delete", "f2", "undo"].includes(key));
  ask(say("keys"), [{ value: "", label: say("close") }], (form) => {
    form.append(make("dl", { className: "keys" }, shown.flatMap((key) => {
      const [what, does] = say(`key_${key}`).split(": ");
      return [make("dt", {}, what.split(" ").map((one) => make("kbd", {}, one))), make("dd", {}, does)];
    })));
  });
}

function go(step, isRange) {
  const shown = shownRows();
  if (shown.length === 0) return;
  const here = document.activeElement?.closest?.("#list tbody tr");
  const at = here ? shown.indexOf(here) + step : step > 0 ? 0 : shown.length - 1;
  const row = shown[Math.max(0, Math.min(at, shown.length - 1))];
  if (isRange && here && boxOf(here)) {
    if (!boxOf(here).checked) toggle(here, { isOn: true });
    toggle(row, { range: true, isOn: true });
  }
  linkOf(row).focus();
  row.scrollIntoView({ block: "nearest" });
}

function onListKey(event) {
  const here = document.activeElement?.closest?.("#list tbody tr");
  const row = here && boxOf(here) ? here : undefined;
  const chosen = selected().length > 0 ? selected() : row ? [row] : [];
  const actions = {
    ArrowDown: () => go(1, event.shiftKey), j: () => go(1), J: () => go(1, true),
    ArrowUp: () => go(-1, event.shiftKey), k: () => go(-1), K: () => go(-1, true),
    Home: () => go(-Infinity), End: () => go(Infinity),
    Escape: () => selectAll(false),
    "/": () => term.focus(),
    "?": showKeys,
  };
  if (row) actions[" "] = () => toggle(row, { range: event.shiftKey });
  // On a box, it would send the form.
  if (row && event.target.name === "name") actions.Enter = () => linkOf(row).click();
  if (canModify()) Object.assign(actions, {
    Delete: () => deleteRows(chosen),
    F2: () => chosen.length === 1 && renameRow(chosen[0]),
  });
  return actions[event.key];
}

if (isList) {
  on(document, "keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || find("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    const isCommand = event.ctrlKey || event.metaKey;
    let action;
    if (isCommand && event.key === "a") action = () => selectAll(true);
    else if (isCommand && event.key === "z" && held.size > 0) action = undoLast;
    else if (!isCommand && !event.altKey) action = onListKey(event);
    // A box and a button have a space of their own.
    if (!action || (event.key === " " && event.target.matches("input, button, summary"))) return;
    event.preventDefault();
    action();
  });
}
