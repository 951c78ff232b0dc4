// Two browsers and a terminal in one room: both languages, a connection that is lost, a file, a stranger's HTML.
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import {
  accessible, atEnd, check, DESKTOP, equal, expectComplaints, openPage, PHONE, scenario, serve, until,
} from "../lib.mjs";

const shots = process.env.LANDLINE_CHAT_SHOTS;
const programs = process.env.LANDLINE_PROGRAMS ??
  fileURLToPath(new URL("../../../target/debug", import.meta.url));

/** What stands in the room: who and what, without the notes. */
const messages = (page) => page.$$eval(".log:not([hidden]) > div:has(.text)", (lines) => lines.map((line) =>
  `${line.querySelector(".who").firstChild.textContent}: ${line.querySelector(".text").textContent}`));
const waits = (page) => page.$$eval(".log > div.waits", (lines) => lines.length);
const says = (page, text) => until(`the room has ${text}`, async () => (await messages(page)).includes(text));

async function enter(page, server, nick) {
  // A tab behind another one is slow, and its keys go elsewhere.
  await page.bringToFront();
  await page.goto(`${server.url}/?chat`);
  await until("a nick is wanted", () => page.$("#enter:not([hidden])"));
  await page.$eval("#nick", (field) => { field.value = ""; });
  await page.type("#nick", nick);
  await page.keyboard.press("Enter");
  await until("the room is there", () => page.$("#talk:not([hidden])"));
}

async function post(page, text) {
  await page.bringToFront();
  await page.focus("#text");
  await page.type("#text", text);
  await page.keyboard.press("Enter");
}

async function shot(page, name) {
  if (!shots) return;
  await page.bringToFront();
  await page.screenshot({ path: path.join(shots, `${name}.png`) });
}

/** A terminal in the same room. */
function terminal(server, nick) {
  const address = server.direct.replace("http://", "");
  const child = spawn(path.join(programs, "tcp-client"), ["chat", address, "--nick", nick],
    { env: { ...process.env, LANDLINE_HOME: server.home, NO_COLOR: "1" } });
  atEnd(() => child.kill());
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => { output += piece; });
  return {
    shows: (text) => until(`the terminal shows ${text} in ${output}`, () => output.includes(text)),
    says: (text) => child.stdin.write(`${text}\n`),
  };
}

await scenario(async () => {
  // A browser writes into its console that a connection which it was told to make could not be made.
  expectComplaints(/WebSocket connection to/, /net::ERR_/);
  const server = await serve(["--upload", "--guest", "read,write,chat"], { program: "tcp-server" });
  const ann = await openPage(DESKTOP);
  const lan = await openPage(PHONE, { language: "zh" });
  // Another browser: what one keeps is not the other's.
  await ann.goto(`${server.url}/`);
  check(await ann.$("#tools a[href='./?chat']"), "the list leads to the chat");
  await enter(ann, server, "ann");
  await ann.evaluate(() => localStorage.clear());
  await enter(lan, server, "兰");
  const terminalBen = terminal(server, "ben");
  await terminalBen.shows("* ben joined");

  await post(ann, "hi <img src=x onerror=alert(1)> 兰, ben");
  await says(lan, "ann: hi <img src=x onerror=alert(1)> 兰, ben");
  await terminalBen.shows("ann: hi <img src=x onerror=alert(1)> 兰, ben");
  check(await lan.$(".log > div.mention"), "a mention of one's own nick is marked");
  terminalBen.says("hello from a terminal");
  await says(ann, "ben: hello from a terminal");
  await post(lan, "你好");
  await says(ann, "兰: 你好");
  await until("nothing waits", async () => (await waits(ann)) + (await waits(lan)) === 0);
  equal(await ann.$$eval("#people li", (all) => all.map((one) => one.textContent).sort()), ["ann", "ben", "兰"].sort(),
    "all three are here");

  // The network goes, and comes back.
  await lan.setOfflineMode(true);
  await server.stop();
  await until("the loss is shown", () => lan.$("#chat[data-state=lost]"));
  await post(lan, "这条在等");
  equal(await waits(lan), 1, "what cannot be sent waits, and is marked");
  await shot(lan, "phone-lost");
  await server.start();
  await lan.setOfflineMode(false);
  await says(ann, "兰: 这条在等");
  await until("nothing waits", async () => (await waits(lan)) === 0);
  const count = async (page, text) => (await messages(page)).filter((one) => one === text).length;
  equal([await count(ann, "兰: 这条在等"), await count(lan, "兰: 这条在等")], [1, 1], "it came once to each");
  const again = terminal(server, "eve");
  await again.shows("* eve joined");

  // A reload goes on: the past is there, nothing is twice.
  await lan.reload();
  await says(lan, "兰: 这条在等");
  equal(await count(lan, "兰: 这条在等"), 1, "after a reload it is there once");

  // A file.
  await ann.bringToFront();
  const field = await ann.$("#upload input[type=file]");
  await field.uploadFile(fileURLToPath(import.meta.url));
  await until("the room is told of the file", async () =>
    (await messages(lan)).some((one) => one.startsWith("ann: chat.mjs: http")));
  check(server.has("chat.mjs"), "the file is there");
  const href = await lan.$eval(".log a[href]", (link) => link.href);
  check(href.endsWith("/chat.mjs"), "and the message leads to it");

  // Another room, by command; a private message.
  await post(ann, "/join attic");
  await until("two rooms", () => ann.$$eval("#rooms button[aria-pressed]", (all) => all.length === 2));
  await post(ann, "only here");
  await says(ann, "ann: only here");
  await post(ann, "/msg 兰 psst");
  await until("the private message comes", async () => (await messages(lan)).some((one) => one.endsWith(": psst")));
  again.says("back in the lobby, ann");
  await until("the other room counts it", () => ann.$("#rooms .unread.mentioned"));
  await shot(ann, "desktop");

  for (const theme of ["light", "dark"]) {
    for (const [page, name] of [[ann, "desktop"], [lan, "phone"]]) {
      await page.evaluate((one) => { document.documentElement.dataset.theme = one; }, theme);
      await page.bringToFront();
      await accessible(page, `${name}, ${theme}`);
      await shot(page, `${name}-${theme}`);
    }
  }
  equal(await lan.evaluate(() => document.documentElement.scrollWidth), 360, "nothing is wider than a phone");
});
