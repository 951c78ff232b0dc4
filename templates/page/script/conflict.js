// A file of this name is there already: asked once, and for all of a batch if the person says so.

let questions = Promise.resolve();

/** What is there now under an upload's name; empty: the server does not show it. Without an answer it throws. */
async function present(upload) {
  const answer = await fetch(urlIn(upload.base, upload.path), { method: "HEAD", cache: "no-store" });
  if (!answer.ok) return {};
  const [size, time] = ["Content-Length", "Last-Modified"].map((name) => answer.headers.get(name));
  return { etag: answer.headers.get("ETag"), size: Number(size), time: Date.parse(time) };
}

function askConflict(upload, there) {
  const answers = [
    { value: "both", label: say("keep_both"), kind: "main" },
    { value: "replace", label: say("replace") },
    { value: "skip", label: say("skip") },
  ];
  let forAll;
  const line = (label, size, time) =>
    make("li", {}, `${label}: ${sizeText(size)}`, Number.isNaN(time) ? "" : ` · ${dateText(new Date(time))}`);
  const isNext = (other) => other.batch === upload.batch && other !== upload && isUnderWay(other);
  return ask(say("conflict", { name: upload.path }), answers, (form) => {
    const isShown = there.size !== undefined;
    form.append(make("ul", {}, isShown && line(say("there"), there.size, there.time),
      line(say("yours"), upload.size, upload.modified)));
    forAll = make("input", { type: "checkbox" });
    if (uploads.some(isNext)) form.append(make("label", { className: "check" }, forAll, ` ${say("for_all")}`));
  }).then((answer) => {
    const chosen = answer || "skip";
    if (forAll.checked) upload.batch.answer = chosen;
    return chosen;
  });
}

/** The same name with a number, such as `notes (2).txt`. */
function numbered(path, number) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const above = path.slice(0, path.length - name.length);
  const stem = name.replace(/ \(\d+\)(?=(\.[^.]*)?$)/, "");
  const ending = stem.lastIndexOf(".") > 0 ? stem.slice(stem.lastIndexOf(".")) : "";
  return `${above}${stem.slice(0, stem.length - ending.length)} (${number})${ending}`;
}

/** Asks what to do with an upload whose name is taken; true: it goes on. */
async function settleConflict(upload) {
  upload.url = undefined;
  upload.sent = 0;
  if (upload.number) {
    // It already has a number: the next one.
    upload.path = numbered(upload.path, ++upload.number);
    return true;
  }
  const there = await present(upload).catch(() => undefined);
  // The connection is lost: the upload waits for it, and meets the same name.
  if (!there) return true;
  const isOver = () => upload.state !== "sending";
  const asked = questions.then(() => isOver() ? "" : upload.batch.answer ?? askConflict(upload, there));
  questions = asked.catch(() => "");
  switch (await asked) {
    case "both":
      upload.number = 2;
      upload.path = numbered(upload.path, 2);
      return true;
    case "replace":
      // What the person was told of, and nothing that came since.
      // A weak tag, of a file that has just changed, matches nothing (RFC 9110, 13.1.1).
      upload.condition = there.etag?.startsWith('"') ? { "If-Match": there.etag } : {};
      return true;
    case "skip":
      return endUpload(upload, "skipped");
    default:
      return false;
  }
}
