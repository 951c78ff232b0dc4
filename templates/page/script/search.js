// Search: what is typed filters the list at once; after a pause, or Enter, what is below is searched too.

const term = find("#search input[type=search]");
const SEARCH_PAUSE = 500;
let searching = new AbortController();

const folded = (text) => text.normalize("NFKC").toLocaleLowerCase();

/** Hides the rows whose names have not what is typed. */
function filterList() {
  if (!isList) return;
  const wanted = folded(term?.value.trim() ?? "");
  for (const row of rowsOf()) {
    row.hidden = (held.size > 0 && held.has(boxOf(row)?.value)) ||
      (wanted !== "" && !folded(row.cells[1].textContent).includes(wanted));
  }
  showSelection();
}

function resultRow({ folder, name, href, kind, size, modified }) {
  // A name that is no text is known by its reference only.
  const shown = name.b64 ? href : name;
  const link = make("a", { href: kind === "file" ? `${href}?view` : href }, shown, kind === "dir" ? "/" : "");
  return make("tr", { "data-kind": kind }, make("td", {}, link),
    make("td", {}, make("bdi", {}, `./${folder.b64 ?? folder}`)),
    make("td", { title: size ?? "" }, size === null ? "" : sizeText(size)),
    make("td", {}, make("time", { dateTime: modified })));
}

/** The lines of an answer, as they come. */
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    yield* lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
    if (done) return;
  }
}

/** Searches here and below, and shows what comes while it comes. */
async function searchBelow() {
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  const wanted = term.value.trim();
  find("#below")?.remove();
  if (wanted.length < 2) return;
  const body = make("tbody");
  const said = make("p", { className: "more", role: "status" }, say("searching"));
  const labels = ["name", "folder", "size", "modified"].map((key) => make("th", { scope: "col" }, say(key)));
  find("#archives").before(make("section", { id: "below", ariaLabel: say("below", { term: wanted }) },
    make("h2", {}, say("below", { term: wanted })),
    make("table", { className: "results" }, make("thead", {}, make("tr", {}, labels)), body), said));
  try {
    const answer = await send("GET", `?search=${encodeURIComponent(wanted)}&json`,
      { headers: { Accept: "application/x-ndjson" }, signal });
    for await (const line of linesOf(answer)) {
      // What the list above shows is there already.
      if (line.name === undefined || (!line.folder && shownRows().some((row) => isValue(row, line.href)))) continue;
      body.append(resultRow(line));
      localTimes(body.lastElementChild);
    }
    said.textContent = body.rows.length > 0 ? say("found", { count: body.rows.length }) : say("found_none");
  } catch (error) {
    if (signal.aborted) return;
    said.textContent = error instanceof Refused ? error.message : say("no_connection");
  }
}

if (isList && term) {
  term.placeholder = find("#search label").textContent;
  let timer;
  on(term, "input", () => {
    filterList();
    clearTimeout(timer);
    timer = setTimeout(searchBelow, term.value === "" ? 0 : SEARCH_PAUSE);
  });
  on(find("#search"), "submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    searchBelow();
  });
  on(term, "keydown", (event) => {
    if (event.key !== "Escape" && event.key !== "ArrowDown") return;
    event.preventDefault();
    if (event.key === "Escape") {
      term.value = "";
      term.dispatchEvent(new Event("input"));
    }
    const [first] = shownRows();
    if (first) linkOf(first).focus();
  });
}
