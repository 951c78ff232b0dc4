// What all scenarios need: the packages, a server with a directory and a home of its own, a browser, and checks that
// say what passed. A message of an error in the browser's console, or one of its policy, fails a scenario.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

const env = process.env;
const repository = fileURLToPath(new URL("../..", import.meta.url));
const programs = env.LANDLINE_PROGRAMS ?? path.join(repository, "target/debug");
const packages = createRequire(path.join(repository, "target/browser/x"));
/** How long the browser may take for one step, in milliseconds. The machine may be busy. */
export const DEADLINE = Number(env.LANDLINE_DEADLINE_MS ?? 60_000);

/** A proxy's delay for each piece with which an upload of some megabytes does not end before its test goes on. */
export const SLOW = 1_000;

/** Where a file of a package is. */
export const packageFile = (name) => packages.resolve(name);
export const load = async (name) => import(pathToFileURL(packageFile(name)).href);

const closing = [];
/** What is undone at the end, last first. */
export const atEnd = (work) => closing.push(work);

export function temporaryDirectory() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "landline-browser-"));
  atEnd(() => fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
  return directory;
}

export function check(condition, what) {
  if (!condition) throw new Error(`not so: ${what}`);
  console.log(`  ${what}`);
}

export function equal(found, wanted, what) {
  const [one, other] = [found, wanted].map((value) => JSON.stringify(value));
  if (one !== other) throw new Error(`${what}: found ${one}, wanted ${other}`);
  console.log(`  ${what}`);
}

/** Waits until something is so. */
export async function until(what, isSo, time = DEADLINE) {
  const end = Date.now() + time;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > end) throw new Error(`did not come true in ${time} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
export const sameBytes = (one, other) => digest(fs.readFileSync(one)) === digest(fs.readFileSync(other));

/** Bytes that no two places have alike. */
export function patterned(length, seed = 1) {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = seed; at + 4 <= length; at += 4) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0;
    bytes.writeInt32LE(state ^ at, at);
  }
  return bytes;
}

async function running(program, args, home) {
  const environment = { ...env, LANDLINE_HOME: home, NO_COLOR: "1" };
  const child = spawn(path.join(programs, program), args, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  readline.createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const lines = readline.createInterface({ input: child.stdout });
  const output = [];
  const ended = once(child, "exit").then(() => {
    throw new Error(`${program} ended: ${log.join("\n")}`);
  });
  ended.catch(() => {});
  const ready = new Promise((resolve) => lines.on("line", (line) => {
    output.push(line);
    const found = /ready on (\S+)$/.exec(line);
    if (found) resolve(found[1]);
  }));
  const address = await Promise.race([ready, ended]);
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 3_000);
    await once(child, "exit");
    clearTimeout(late);
  };
  return { address, log, output, stop };
}

/**
 * A server of a new directory, and in front of it a proxy whose port stays: the server can be stopped and started
 * again behind it, and the proxy can be slow, so that a test finds an upload in its middle.
 */
export async function serve(args = ["--upload", "--modify"], { program = "http-files", files = {} } = {}) {
  const directory = temporaryDirectory();
  const home = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), content);
  }
  const command = program === "http-files" ? [directory, ...args] : ["--root", directory, "--http", ...args];
  const start = () => running(program, [...command, "--bind", "127.0.0.1:0"], home);
  let server = await start();
  const sockets = new Set();
  const self = { directory, home, delay: 0, get output() { return server.output; },
    get direct() { return `http://${server.address}`; } };
  const proxy = net.createServer((client) => {
    const [host, port] = server.address.split(":");
    const upstream = net.connect(Number(port), host);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (piece) => {
        from.pause();
        const goOn = () => to.destroyed ? from.destroy() : to.write(piece, () => from.resume());
        // A delay for each piece: nothing of a test depends on how fast it is.
        if (self.delay > 0 && from === client) setTimeout(goOn, self.delay);
        else goOn();
      });
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => { sockets.delete(from); to.destroy(); });
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  self.url = `http://127.0.0.1:${proxy.address().port}`;
  self.stop = async () => {
    await server.stop();
    for (const socket of sockets) socket.destroy();
  };
  self.start = async () => { server = await start(); };
  self.read = (name) => fs.readFileSync(path.join(directory, name));
  self.has = (name) => fs.existsSync(path.join(directory, name));
  self.names = (name = ".") => fs.readdirSync(path.join(directory, name)).sort();
  atEnd(async () => {
    await self.stop();
    proxy.close();
  });
  return self;
}

/** Runs a program of ours to its end; what it writes. */
export async function run(program, args, home) {
  const child = spawn(path.join(programs, program), args, { env: { ...env, LANDLINE_HOME: home, NO_COLOR: "1" } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => { output += piece; });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${output}`);
  return output;
}

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
];

let browser;
export async function openBrowser() {
  if (!browser) {
    const { default: puppeteer } = await load("puppeteer-core");
    browser = await puppeteer.launch({
      executablePath: env.LANDLINE_CHROMIUM ?? "/usr/bin/chromium", userDataDir: temporaryDirectory(), args: FLAGS,
      // Its own is half a minute, which a busy machine may need to start it.
      timeout: DEADLINE,
    });
    atEnd(() => browser.close());
  }
  return browser;
}

export const PHONE = { width: 360, height: 760, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
export const DESKTOP = { width: 1280, height: 800 };

/** Complaints of the browser about pages, without those that a scenario expects. */
const complaints = [];
let expected = [];
/** Complaints that match are not counted: a network that a test has cut is one. */
export const expectComplaints = (...patterns) => { expected = patterns; };

/** A new tab. Its dialogs about leaving are taken with yes. */
export async function openPage(viewport = DESKTOP, { language = "en", javascript = true } = {}) {
  const page = await (await openBrowser()).newPage();
  page.setDefaultTimeout(DEADLINE);
  await page.setViewport(viewport);
  await page.setExtraHTTPHeaders({ "Accept-Language": language });
  await page.setJavaScriptEnabled(javascript);
  const note = (text) => { if (!expected.some((pattern) => pattern.test(text))) complaints.push(text); };
  page.on("console", (message) => {
    if (["error", "warn", "issue"].includes(message.type())) note(`${message.text()} ${message.location().url ?? ""}`);
  });
  page.on("pageerror", (error) => note(error.stack ?? error.message));
  page.on("dialog", (dialog) => dialog.accept());
  return page;
}

/** Where the link that `http-files --share` has printed leads, through the proxy. */
export async function linkOf(server) {
  const found = () => server.output.map((line) => /https?:\/\/\S+?(\/\?share=\S+)/.exec(line)?.[1]).find(Boolean);
  return server.url + await until("a link is printed", found);
}

/** The texts of elements. */
export const texts = (page, selector) =>
  page.$$eval(selector, (found) => found.map((element) => element.textContent.trim()));
export const names = (page) => page.$$eval("#list tbody tr:not([hidden]) input[name=name]",
  (found) => found.map((box) => box.getAttribute("aria-label")));

export async function waitForNames(page, wanted) {
  await until(`the list shows ${wanted.join(", ")}`, async () => {
    const shown = await names(page).catch(() => []);
    return JSON.stringify([...shown].sort()) === JSON.stringify([...wanted].sort());
  });
  console.log(`  the list shows ${wanted.join(", ")}`);
}

/** Waits until all uploads of the queue are over, and their answers are here. */
export async function uploadsAreOver(page) {
  await until("all uploads are over", () => page.$$eval("#queue .uploads li", (rows) =>
    rows.every((row) => ["done", "skipped", "failed"].includes(row.dataset.state))));
}

/** Where the middle of an element is now: a list is made anew after a change, and its elements with it. */
export async function middleOf(page, selector) {
  return until(`there is ${selector}`, () => page.$eval(selector, (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  }).catch(() => undefined));
}

/** Clicks what has this text. */
export async function clickText(page, selector, text) {
  await until(`there is ${selector} with ${text}`, () => page.$$eval(selector, (found, wanted) => {
    const one = found.find((element) => element.textContent.trim() === wanted && element.checkVisibility());
    one?.click();
    return Boolean(one);
  }, text));
}

/** Runs axe-core on what is shown. */
export async function accessible(page, what) {
  await page.evaluate(fs.readFileSync(packageFile("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, nodes }) =>
    `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`);
  if (told.length > 0) throw new Error(`axe-core, ${what}:\n${told.join("\n")}`);
  console.log(`  axe-core finds nothing: ${what}`);
}

/** Runs a scenario; the process ends with what became of it. */
export async function scenario(work) {
  const late = setTimeout(() => fail(new Error("the whole scenario takes too long")), 10 * DEADLINE);
  const end = async (code) => {
    clearTimeout(late);
    // A browser that does not end by itself must not keep the outcome.
    setTimeout(() => process.exit(code), DEADLINE);
    for (const undo of closing.reverse()) await Promise.resolve().then(undo).catch(() => {});
    process.exit(code);
  };
  const fail = async (error) => {
    console.log(`FAILED: ${error.stack ?? error}`);
    for (const complaint of complaints) console.log(`the browser says: ${complaint}`);
    if (env.LANDLINE_BROWSER_SHOT && browser) {
      const pages = await browser.pages();
      await pages.at(-1)?.screenshot({ path: env.LANDLINE_BROWSER_SHOT }).catch(() => {});
    }
    await end(1);
  };
  try {
    await work();
    if (complaints.length > 0) throw new Error("the browser complains");
    console.log("passed");
    await end(0);
  } catch (error) {
    await fail(error);
  }
}
