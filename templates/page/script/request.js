// Requests to the server, and what their failures mean for the page.

/** The URL of what has this name in a directory; a directory's ends with a slash. */
function urlIn(directory, name) {
  return directory + name.split("/").map(encodeURIComponent).join("/");
}

/** An answer that is no success. */
class Refused extends Error {
  constructor(status, text, allowed = "") {
    super(text);
    this.status = status;
    /** The methods that the server names, of a method that it does not allow. */
    this.allowed = allowed.split(/[\s,]+/);
  }
}

/** Why an answer is no success: in the page's language where that is plain, or as the server says it. */
function problemText(type, text, status) {
  if (words[`status_${status}`]) return words[`status_${status}`];
  if (type.includes("json")) {
    try {
      const problem = JSON.parse(text);
      return problem.detail ?? problem.title ?? problem.error ?? text;
    } catch {
      // As it is.
    }
  }
  return type.startsWith("text/plain") && text.trim() ? text.trim() : say("refused", { status: String(status) });
}

/** One request. It throws Refused for an answer that is no success, TypeError without one. */
async function send(method, url, options = {}) {
  const { headers = {}, ...rest } = options;
  const asked = { method, headers: { Accept: "text/plain", ...headers }, cache: "no-store", ...rest };
  const answer = await fetch(url, asked);
  if (answer.ok) return answer;
  if (answer.status === 401) accessEnded();
  const text = method === "HEAD" ? "" : await answer.text();
  const type = answer.headers.get("Content-Type") ?? "";
  throw new Refused(answer.status, problemText(type, text, answer.status), answer.headers.get("Allow") ?? "");
}

/** Tells why something did not work. */
function tellFailure(what, error) {
  const why = error instanceof Refused ? error.message : say("no_connection");
  tellError(`${what}: ${why}`);
}

/** The name is taken. A server that makes no directories answers MKCOL with 405, too, but does not name it. */
const exists = ({ status, allowed }) => status === 412 || (status === 405 && allowed.includes("MKCOL"));

/** Tells why a name could not be given. */
function tellNotGiven(key, name, error) {
  if (exists(error)) tellError(say("taken", { name }));
  else tellFailure(say(key, { name }), error);
}

/** Makes a directory, and those above it below `base`. That it is there already is as good. */
const made = new Map();
/** What was made may have gone: it is made again when it is needed. */
const forgetMade = () => made.clear();
function makeDirectory(base, path) {
  const url = `${urlIn(base, path)}/`;
  if (!made.has(url)) {
    const above = path.lastIndexOf("/");
    const first = above > 0 ? makeDirectory(base, path.slice(0, above)) : Promise.resolve();
    const making = first.then(() => send("MKCOL", url)).catch(async (error) => {
      if (exists(error)) return;
      // Where none can be made, one may be there.
      if ([403, 405].includes(error.status) && await send("HEAD", url).then(() => true, () => false)) return;
      made.delete(url);
      throw error.status === 405 ? new Refused(405, say("no_folders")) : error;
    });
    made.set(url, making);
  }
  return made.get(url);
}
