// Where files come from: dropped, pasted, chosen. And entries that are dragged to a directory.

const ENTRIES = "application/x-landline-entries";
/** Where files are chosen; null: none are taken here. */
const uploadForm = find("#upload");

/** The files of a drop, with their paths; directories are read to the bottom. */
async function filesOf(transfer) {
  // Both before anything is awaited: a drop's items are gone afterwards.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files].map((file) => ({ file, path: file.name }));
  if (entries.length === 0) return { files: plain, folders: [] };
  const [files, folders] = [[], []];
  const walk = async (entry, above) => {
    const path = above + entry.name;
    if (entry.isFile) {
      files.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
      return;
    }
    folders.push(path);
    const reader = entry.createReader();
    for (;;) {
      // A browser gives at most a hundred at a time.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const one of some) await walk(one, `${path}/`);
    }
  };
  for (const entry of entries) {
    await walk(entry, "").catch(() => tellError(say("unreadable", { name: entry.name })));
  }
  return { files, folders };
}

async function take(base, { files, folders }) {
  enqueue(base, files);
  // Those with files are made for their files; the empty ones are made here.
  const empty = folders.filter((folder) => !files.some(({ path }) => path.startsWith(`${folder}/`)));
  for (const folder of empty) {
    await freeName(urlIn(base, folder)).then(() => makeDirectory(base, folder))
      .catch((error) => tellFailure(say("not_made", { name: folder }), error));
  }
  if (empty.length > 0) listChanged(base);
}

/** The directory that a place on the page stands for; undefined: none of its own. */
function directoryAt(target) {
  const row = target.closest?.("#list tr[data-kind=dir]");
  if (row && boxOf(row)) return { place: row, url: urlOf(row) };
  const link = target.closest?.("#path a");
  return link ? { place: link, url: link.pathname } : undefined;
}

let marked;
function mark(place) {
  if (marked === place) return;
  marked?.classList.remove("target");
  marked = place;
  place?.classList.add("target");
}

if (uploadForm || isList) {
  let depth = 0;
  const kindOf = ({ dataTransfer }) => {
    const types = dataTransfer?.types ?? [];
    if (types.includes(ENTRIES)) return canModify() && "entries";
    return types.includes("Files") && may.has("upload") && "files";
  };
  const end = () => {
    depth = 0;
    mark();
    document.body.classList.remove("dropping");
  };
  on(window, "dragenter", (event) => {
    if (kindOf(event) !== "files") return;
    depth += 1;
    document.body.classList.add("dropping");
  });
  on(window, "dragleave", (event) => {
    if (kindOf(event) === "files" && (depth -= 1) <= 0) end();
  });
  on(window, "dragover", (event) => {
    const kind = kindOf(event);
    const to = directoryAt(event.target);
    mark(kind && to?.place);
    if (kind === "files" || (kind === "entries" && to)) event.preventDefault();
  });
  on(window, "drop", async (event) => {
    const kind = kindOf(event);
    const to = directoryAt(event.target);
    end();
    if (!kind) return;
    event.preventDefault();
    if (kind === "files") take(to?.url ?? page.path, await filesOf(event.dataTransfer));
    else if (to) moveTo(JSON.parse(event.dataTransfer.getData(ENTRIES)).map(rowOf).filter(Boolean), to.url);
  });
  on(window, "dragstart", (event) => {
    const row = event.target.closest?.("#list tr");
    if (!row || !canModify() || !boxOf(row)) return;
    const list = boxOf(row).checked ? selected() : [row];
    event.dataTransfer.setData(ENTRIES, JSON.stringify(list.map((one) => boxOf(one).value)));
    event.dataTransfer.effectAllowed = "move";
  });
  on(window, "dragend", end);
}

/** A picture from the clipboard has no name of its own: the time is one. */
function pastedName(file) {
  if (file.name !== "image.png") return file.name;
  const now = new Date();
  const local = new Date(now - now.getTimezoneOffset() * 60_000).toISOString();
  return `${say("pasted")} ${local.slice(0, 19).replace("T", " ").replaceAll(":", ".")}.png`;
}

if (uploadForm) {
  on(window, "paste", (event) => {
    const files = [...event.clipboardData?.files ?? []];
    if (files.length === 0 || !may.has("upload") || event.target.matches?.("input, textarea")) return;
    event.preventDefault();
    enqueue(page.path, files.map((file) => ({ file, path: pastedName(file) })));
  });
  const choose = (input) => on(input, "change", () => {
    enqueue(page.path, [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    input.value = "";
  });
  const files = find("input[type=file]", uploadForm);
  choose(files);
  on(uploadForm, "submit", (event) => event.preventDefault());
  // Telephones have no folders to choose.
  if (canModify() && "webkitdirectory" in files && !isTouch) {
    const folder = make("input", { type: "file", webkitdirectory: true, hidden: true });
    choose(folder);
    uploadForm.append(button(say("upload_folder"), () => folder.click()), folder);
  }
  uploadForm.append(make("span", { className: "hint" }, say("drop_hint")));
}
if (canModify() && isList) {
  const place = uploadForm ?? find("#search");
  const before = find(".hint", place);
  place.insertBefore(button(say("new_folder"), newFolder, { className: "change" }), before);
}
