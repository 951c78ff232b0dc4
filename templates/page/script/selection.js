// Which entries are selected, and the bar of what can be done with them.

const selected = () => shownRows().filter((row) => boxOf(row).checked);
/** Where a range begins that ends with a click and the shift key. */
let anchor;

function selectAll(isOn) {
  for (const row of shownRows()) boxOf(row).checked = isOn;
  showSelection();
}

function toggle(row, { range = false, isOn = !boxOf(row).checked } = {}) {
  const shown = shownRows();
  const [from, to] = [shown.findIndex((one) => boxOf(one).value === anchor), shown.indexOf(row)];
  const chosen = range && from >= 0 ? shown.slice(Math.min(from, to), Math.max(from, to) + 1) : [row];
  for (const one of chosen) boxOf(one).checked = isOn;
  anchor = boxOf(row).value;
  showSelection();
}

function dressBar() {
  const bar = find("#actions");
  const counted = make("span", { id: "counted" });
  const buttons = canModify() ? [
    button(say("rename"), () => selected().length === 1 && renameRow(selected()[0]), { id: "rename", className: "change" }),
    button(say("move"), () => moveRows(selected()), { className: "change" }),
    button(say("delete"), () => deleteRows(selected()), { className: "change danger" }),
  ] : [];
  const zip = find("button[type=submit]", bar);
  zip.title = zip.textContent;
  zip.textContent = say("zip");
  bar.prepend(counted);
  bar.append(...buttons, iconButton("close", say("select_none"), () => selectAll(false)));
  showSelection();
}

function showSelection() {
  const [chosen, shown] = [selected(), shownRows()];
  for (const row of rowsOf()) row.classList.toggle("selected", Boolean(boxOf(row)?.checked));
  const all = find("#list thead input");
  all.checked = chosen.length > 0 && chosen.length === shown.length;
  all.indeterminate = chosen.length > 0 && !all.checked;
  find("#counted").textContent = say("selected", { count: chosen.length });
  const rename = find("#rename");
  if (rename) rename.disabled = chosen.length !== 1;
  document.body.classList.toggle("selecting", chosen.length > 0);
}

if (isList) {
  on(document, "click", (event) => {
    if (event.target.name !== "name") return;
    // The browser has toggled it already.
    toggle(event.target.closest("tr"), { range: event.shiftKey, isOn: event.target.checked });
  });
}
