// Requests to the server, and what their failures mean for the page.

/** The URL of what has this name in a directory; a directory's ends with a slash. */
function urlIn(directory, name) {
  return directory + name.split("/").map(encodeURIComponent).join("/");
}

/** An answer that is no success. */
class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
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
  throw new Refused(answer.status, problemText(answer.headers.get("Content-Type") ?? "", text, answer.status));
}

/** Tells why something did not work. */
function tellFailure(what, error) {
  const why = error instanceof Refused ? error.message : say("no_connection");
  tell(`${what}: ${why}`, { isError: true });
}

const exists = (error) => error instanceof Refused && [405, 412].includes(error.status);

/** Makes a directory, and those above it below `base`. That it is there already is as good. */
const made = new Map();
function makeDirectory(base, path) {
  const url = `${urlIn(base, path)}/`;
  if (!made.has(url)) {
    const above = path.lastIndexOf("/");
    const first = above > 0 ? makeDirectory(base, path.slice(0, above)) : Promise.resolve();
    const making = first.then(() => send("MKCOL", url)).catch((error) => {
      if (!exists(error)) {
        made.delete(url);
        throw error;
      }
    });
    made.set(url, making);
  }
  return made.get(url);
}
