// Files and folders are dropped and pasted; entries are dragged to a folder.

import fs from "node:fs";
import path from "node:path";
import { check, clickText, names, openPage, patterned, sameBytes, scenario, serve, temporaryDirectory,
  texts, until, waitForNames } from "../lib.mjs";

/** Drops files on what the selector finds, as a person does who drags them from another window. */
async function drop(page, selector, files) {
  const client = await page.createCDPSession();
  const box = await (await page.$(selector)).boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await client.send("Input.dispatchDragEvent", { type, x, y, data });
  }
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
  const row = (value) => page.$(`#list tr:has(input[value='${value}'])`);
  const middle = async (element) => {
    const { x, y, width, height } = await element.boundingBox();
    return [x + width / 2, y + height / 2];
  };
  await page.mouse.move(...await middle(await row("a.txt")));
  await page.mouse.down();
  const [x, y] = await middle(await row("box/"));
  await until("the folder is marked", async () => {
    // The browser begins to drag when it sees that the mouse moves, and not at once.
    for (const step of [3, 0]) await page.mouse.move(x + step, y + step);
    return page.$("#list tr.target");
  });
  await page.mouse.up();
  await until("it has moved", () => server.has("box/a.txt") && !server.has("a.txt"));
  check(true, "an entry is dragged to a folder");
});
