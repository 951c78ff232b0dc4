// Files and folders are dropped and pasted; entries are dragged to a folder.

import fs from "node:fs";
import path from "node:path";
import { check, clickText, expectComplaints, middleOf, names, openPage, patterned, sameBytes, scenario, serve,
  temporaryDirectory, texts, until, waitForNames } from "../lib.mjs";

/** Drops files on what the selector finds, as a person does who drags them from another window. */
async function drop(page, selector, files) {
  const client = await page.createCDPSession();
  const data = { items: [], files, dragOperationsMask: 1 };
  const send = (type, [x, y]) => client.send("Input.dispatchDragEvent", { type, x, y, data });
  await send("dragEnter", await middleOf(page, selector));
  const at = await until(`the mouse is over ${selector}`, async () => {
    const place = await middleOf(page, selector);
    await send("dragOver", place);
    const isOver = (wanted, x, y) => Boolean(document.elementFromPoint(x, y)?.closest(wanted));
    return await page.evaluate(isOver, selector, ...place) && place;
  });
  await send("drop", at);
}

scenario(async () => {
  const server = await serve(["--upload", "--modify"], { files: { "box/in it.txt": "x", "a.txt": "a", "b.txt": "b" } });
  const from = temporaryDirectory();
  const inTree = ["tree/one.bin", "tree/deep/two.bin", "tree/deep/er/three.bin"];
  for (const name of inTree) {
    fs.mkdirSync(path.dirname(path.join(from, name)), { recursive: true });
    fs.writeFileSync(path.join(from, name), patterned(50_000, name.length));
  }
  fs.mkdirSync(path.join(from, "tree/nothing in it"));
  const many = path.join(from, "many");
  fs.mkdirSync(many);
  for (let at = 0; at < 150; at += 1) fs.writeFileSync(path.join(many, `${at}.txt`), String(at));
  const page = await openPage();
  await page.goto(`${server.url}/`);

  await drop(page, "#list caption", [path.join(from, "tree")]);
  await waitForNames(page, ["a.txt", "b.txt", "box", "tree"]);
  await until("all of the folder is there", () => inTree.every((name) => server.has(name)));
  check(inTree.every((name) => sameBytes(path.join(from, name), path.join(server.directory, name))),
    "a folder is dropped with all that is in it");
  await until("its empty folder is there, too", () => server.has("tree/nothing in it"));

  await drop(page, "#list tbody tr[data-kind=dir]", [path.join(from, "tree/one.bin")]);
  await until("it is in the folder", () => server.has("box/one.bin"));
  check(!server.has("one.bin"), "a file that is dropped on a folder goes there");

  await drop(page, "#list caption", [many]);
  await until("a folder of many files is there", () => server.has("many") && server.names("many").length === 150);
  check((await texts(page, "#queue .uploads li")).length <= 60, "and the page does not show a row for each");
  check(server.read("many/149.txt").toString() === "149", "none is missing");

  await page.evaluate(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(["pasted"], "image.png", { type: "image/png" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
  });
  await until("what is pasted is there", async () => (await names(page)).some((name) => /^Pasted .*\.png$/.test(name)));

  await clickText(page, "#queue button", "Clear the list");
  await until("the queue is gone", () => page.$eval("#queue", (queue) => queue.hidden));
  const row = (value) => `#list tr:has(input[value='${value}'])`;
  await page.mouse.move(...await middleOf(page, row("a.txt")));
  await page.mouse.down();
  await until("the folder is marked", async () => {
    const [x, y] = await middleOf(page, row("box/"));
    // The browser begins to drag when it sees that the mouse moves, and not at once.
    for (const step of [3, 0]) await page.mouse.move(x + step, y + step);
    return page.$(`${row("box/")}.target`);
  });
  await page.mouse.up();
  await until("it has moved", () => server.has("box/a.txt") && !server.has("a.txt"));
  check(true, "an entry is dragged to a folder");

  // What makes no directories: a folder goes where one is, and nowhere else.
  const plain = await serve(["--upload"], { files: { "many/old.txt": "x" } });
  await page.goto(`${plain.url}/`);
  expectComplaints(/405|404/);
  await drop(page, "#list caption", [many]);
  await until("it is there", () => plain.names("many").length === 151);
  await drop(page, "#list caption", [path.join(from, "tree")]);
  await until("the uploads have ended", async () => (await texts(page, "#queue .text")).filter((text) =>
    text === "Failed: folders cannot be made here").length === inTree.length);
  check(!plain.has("tree"), "a folder that cannot be made is no folder, and the page says so");
});
