// What is on its way, kept by the browser: a reload, a closed tab and a restarted machine lose no upload.

/** A file of this length and more is not copied into the browser's store: the person is asked for it again. */
const KEPT_FILE_MAX = 512 * 1024 * 1024;
/** As long as the server keeps what it has of an upload. */
const KEPT_TIME = 7 * 24 * 3600 * 1000;
/** This tab, also after a reload. */
const tab = (() => {
  try {
    return (sessionStorage.tab ??= String(Math.random()));
  } catch {
    return String(Math.random());
  }
})();

const store = new Promise((resolve) => {
  try {
    const opening = indexedDB.open("uploads", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("uploads", { keyPath: "id" });
      opening.result.createObjectStore("files");
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => resolve(undefined);
  } catch {
    resolve(undefined);
  }
});

/** Runs one transaction; undefined where the browser keeps nothing or has no room. */
async function inStore(mode, work) {
  const database = await store;
  if (!database) return undefined;
  return new Promise((resolve) => {
    const transaction = database.transaction(["uploads", "files"], mode);
    const request = work(transaction.objectStore("uploads"), transaction.objectStore("files"));
    transaction.oncomplete = () => resolve(request?.result ?? true);
    transaction.onabort = () => resolve(undefined);
  }).catch(() => undefined);
}

/** Keeps what is known of an upload. */
function putUpload(uploads, { id, base, path, size, modified, url, condition }) {
  uploads.put({ id, base, path, size, modified, url, condition, tab, at: Date.now() });
}
const keepUpload = (upload) => inStore("readwrite", (uploads) => void putUpload(uploads, upload));

/** Keeps new uploads, with their files where these are not too large, and there is room. */
async function keepUploads(list) {
  const put = (hasFiles) => inStore("readwrite", (uploads, files) => {
    for (const upload of list.filter(isOpen)) {
      putUpload(uploads, upload);
      if (hasFiles && upload.size < KEPT_FILE_MAX) files.put(upload.file, upload.id);
    }
  });
  const isKept = await put(true);
  if (!isKept) await put(false);
  for (const upload of list) upload.isKept = Boolean(isKept) && upload.size < KEPT_FILE_MAX;
}

const forgetUpload = ({ id }) => inStore("readwrite", (uploads, files) => {
  uploads.delete(id);
  files.delete(id);
});
const forgetAllUploads = () => inStore("readwrite", (uploads, files) => {
  uploads.clear();
  files.clear();
});

/**
 * Uploads that were left, and that no other tab carries on. Tabs ask each other; of two that begin at the same time,
 * the one with the smaller number waits.
 */
async function leftUploads() {
  const all = await inStore("readonly", (uploads) => uploads.getAll());
  if (!Array.isArray(all) || all.length === 0) return [];
  const taken = new Set();
  let yields = false;
  tabs.onmessage = ({ data }) => {
    for (const id of data.mine ?? []) taken.add(id);
    if (data.beginning > beginning) yields = true;
  };
  tabs.postMessage({ beginning });
  await pause(150);
  listenToTabs();
  if (yields) return [];
  const [old, left] = [[], []];
  for (const one of all) if (!taken.has(one.id)) (Date.now() - one.at > KEPT_TIME ? old : left).push(one);
  for (const one of old) forgetUpload(one);
  for (const one of left) one.file = await keptFile(one.id);
  return left;
}

async function keptFile(id) {
  const file = await inStore("readonly", (uploads, files) => files.get(id));
  return file instanceof File ? file : undefined;
}

const beginning = Math.random();
const tabs = new BroadcastChannel("uploads");
function listenToTabs() {
  tabs.onmessage = ({ data }) => {
    if (data.beginning) tabs.postMessage({ mine: uploads.map((upload) => upload.id) });
  };
}
