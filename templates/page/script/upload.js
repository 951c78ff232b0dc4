// One upload: begun with an empty request that gives it a URL, then continued there, as
// draft-ietf-httpbis-resumable-upload has it. After a break the server is asked how far it came, so no byte is sent
// twice that the server has.

/** Up to this length a file's digest goes along, and the server compares it. */
const DIGEST_LEN_MAX = 16 * 1024 * 1024;
/** Without a byte for this long, a connection is taken for lost; at the end the server may sync a large file. */
const STALL_TIME = 30_000;
const SYNC_TIME = 600_000;
const RETRY_TIME_MAX = 20_000;
/** The server is busy or restarts: it is tried again. */
const PASSING = [408, 425, 429, 502, 503, 504];

async function digestOf(file) {
  if (file.size > DIGEST_LEN_MAX || !globalThis.crypto?.subtle) return undefined;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return `sha-256=:${btoa(String.fromCharCode(...hash))}:`;
}

/** Gives an upload its URL. */
async function begin(upload) {
  const url = urlIn(upload.base, upload.path);
  const headers = { "Upload-Complete": "?0", "Upload-Length": String(upload.size), ...upload.condition };
  const digest = await digestOf(upload.file);
  if (digest) headers["Repr-Digest"] = digest;
  await freeName(url);
  const put = async () => {
    const above = upload.path.lastIndexOf("/");
    if (above > 0) await makeDirectory(upload.base, upload.path.slice(0, above));
    return send("PUT", url, { headers, signal: upload.stopper.signal });
  };
  const answer = await put().catch((error) => {
    if (![404, 409].includes(error.status)) throw error;
    // Its directory has gone since it was made.
    forgetMade();
    return put();
  });
  upload.url = answer.headers.get("Location");
  upload.sent = 0;
  await keepUpload(upload);
}

/** Asks how far an upload came; true: all of it is there. */
async function locate(upload) {
  const answer = await send("HEAD", upload.url, { signal: upload.stopper.signal });
  upload.sent = Number(answer.headers.get("Upload-Offset"));
  upload.from = upload.size > 0 ? upload.sent / upload.size : 0;
  upload.isUnsure = false;
  return answer.headers.get("Upload-Complete") === "?1";
}

/** Sends what is missing. XMLHttpRequest, because fetch does not tell how far it is. */
function append(upload) {
  const start = upload.sent;
  const { signal } = upload.stopper;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer;
    const watch = (time) => {
      clearTimeout(timer);
      timer = setTimeout(stop, time);
    };
    const over = new AbortController();
    const stop = () => request.abort();
    // What is under way without a network would only be noticed by its silence.
    on(window, "offline", stop, over);
    request.open("PATCH", upload.url);
    const headers = { "Content-Type": "application/partial-upload", "Upload-Offset": start, "Upload-Complete": "?1" };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      watch(event.loaded < event.total ? STALL_TIME : SYNC_TIME);
      measure(upload, start + event.loaded);
    };
    request.onloadend = () => {
      clearTimeout(timer);
      over.abort();
      const type = request.getResponseHeader("Content-Type") ?? "";
      if (request.status === 0) reject(new TypeError("no answer"));
      else if (request.status < 300) resolve();
      else reject(new Refused(request.status, problemText(type, request.responseText, request.status)));
    };
    on(signal, "abort", stop, over);
    if (signal.aborted) return reject(new TypeError("stopped"));
    watch(STALL_TIME);
    request.send(upload.file.slice(start));
  });
}

/** Notes how far an upload is, and how fast: an average in which the last seconds count most. */
function measure(upload, sent) {
  const now = performance.now();
  const seconds = (now - (upload.measured ?? now)) / 1000;
  if (upload.measured === undefined || seconds > 0.25) {
    if (seconds > 0) {
      const speed = (sent - upload.sent) / seconds;
      const weight = 1 - Math.exp(-seconds / 3);
      upload.speed = upload.speed === undefined ? speed : upload.speed + (speed - upload.speed) * weight;
    }
    upload.measured = now;
    upload.sent = sent;
  }
  showSoon();
}

/** Whether the browser can still read a file: it may have been changed or removed since it was chosen. */
const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

/** Waits longer after each failure; less if the network comes back or the person looks at the page again. */
function waitToRetry(upload, failures) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const done = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(done, Math.min(500 * 2 ** failures, RETRY_TIME_MAX) * (0.75 + Math.random() / 2));
    on(window, "online", done, over);
    on(document, "visibilitychange", done, over);
    on(upload.stopper.signal, "abort", done, over);
  });
}

/** Carries an upload on until it is whole, refused, or stopped by the person. */
async function carry(upload) {
  for (let failures = 0; upload.state === "sending";) {
    const before = upload.sent;
    try {
      if (!upload.url) await begin(upload);
      else if (upload.isUnsure && await locate(upload)) return endUpload(upload, "done");
      upload.isLost = false;
      upload.measured = undefined;
      await append(upload);
      return endUpload(upload, "done");
    } catch (error) {
      if (upload.state !== "sending") return;
      upload.isUnsure = true;
      upload.speed = undefined;
      failures = upload.sent > before ? 1 : failures + 1;
      if (!await canGoOn(upload, error, failures)) return;
    }
  }
}

/** What a failure means; false: this upload has ended, or waits for the person. */
async function canGoOn(upload, error, failures) {
  if (error instanceof Refused) {
    const { status } = error;
    if (status === 412) return settleConflict(upload);
    if (status === 404 && upload.url) {
      // The server has forgotten it, or was another one.
      upload.url = undefined;
      upload.sent = 0;
      return failures < 3 || endUpload(upload, "failed", say("status_404"));
    }
    if (status === 401 || (status === 403 && upload.url)) {
      accessEnded();
      return false;
    }
    const isAhead = status === 409 && upload.url && failures < 5;
    if (!isAhead && !PASSING.includes(status)) return endUpload(upload, "failed", error.message);
  } else if (!await isReadable(upload.file)) {
    return endUpload(upload, "failed", say("file_changed"));
  }
  upload.isLost = true;
  showSoon();
  await waitToRetry(upload, failures);
  return true;
}
