// Twenty files, a folder with folders, an empty file: each is on the disk as it was.

import fs from "node:fs";
import path from "node:path";
import { check, clickText, equal, openPage, patterned, sameBytes, scenario, serve, temporaryDirectory, texts, until,
  uploadsAreOver, waitForNames } from "../lib.mjs";

scenario(async () => {
  const server = await serve();
  const from = temporaryDirectory();
  const files = Array.from({ length: 20 }, (_, at) => path.join(from, `file ${at + 1} ü 文.bin`));
  files.forEach((file, at) => fs.writeFileSync(file, patterned(at * 40_000, at)));
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await (await page.$("#upload input[type=file]")).uploadFile(...files);
  await waitForNames(page, files.map((file) => path.basename(file)));
  check(files.every((file) => sameBytes(file, path.join(server.directory, path.basename(file)))),
    "20 files are on the disk, byte for byte");
  await until("all are done", async () => (await texts(page, "#queue .text")).every((text) => text.includes("done")));
  equal(await texts(page, "#queue strong"), ["20 files uploaded"], "the queue says that they are there");

  const tree = path.join(from, "tree");
  const inTree = ["a.txt", "one/b.txt", "one/two/c.txt", "one/two/empty"];
  for (const name of inTree) {
    fs.mkdirSync(path.dirname(path.join(tree, name)), { recursive: true });
    fs.writeFileSync(path.join(tree, name), name.endsWith("empty") ? "" : patterned(70_000, name.length));
  }
  await (await page.$("#upload input[webkitdirectory]")).uploadFile(tree);
  await until("the folder is there", () => inTree.every((name) => server.has(`tree/${name}`)));
  check(inTree.every((name) => sameBytes(path.join(tree, name), path.join(server.directory, "tree", name))),
    "a folder is there with all that is in it");
  await waitForNames(page, ["tree", ...files.map((file) => path.basename(file))]);
  check(!server.names().some((name) => name.includes("part")), "nothing else was left");

  // It is deleted and comes again: at once, and when it has gone from the disk.
  await uploadsAreOver(page);
  const remove = async () => {
    await until("it can be chosen", () => page.$eval("#list tr:not([hidden]) input[value='tree/']", (box) => {
      if (!box.checked) box.click();
      return box.checked;
    }).catch(() => false));
    await clickText(page, "#actions button", "Delete");
  };
  const again = async () => {
    await clickText(page, "#queue button", "Clear the list");
    await (await page.$("#upload input[webkitdirectory]")).uploadFile(tree);
    await until("it is there again", async () => inTree.every((name) => server.has(`tree/${name}`)) &&
      (await texts(page, "#queue .text")).filter((text) => text.includes("done")).length === inTree.length);
  };
  fs.writeFileSync(path.join(server.directory, "tree/old"), "");
  await remove();
  await again();
  check(!server.has("tree/old"), "a folder that was deleted comes again at once");
  await remove();
  await until("it has gone", () => !server.has("tree"));
  await again();
  check(true, "and later");
});
