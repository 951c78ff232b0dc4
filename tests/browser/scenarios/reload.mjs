// A reload in the middle of an upload: the page goes on by itself, from what the browser and the server have kept.

import fs from "node:fs";
import path from "node:path";
import { check, openPage, patterned, sameBytes, scenario, serve, SLOW, temporaryDirectory, texts,
  until } from "../lib.mjs";

const progress = (page) => page.$eval("#queue .uploads progress", (bar) => bar.value).catch(() => 0);

scenario(async () => {
  const server = await serve();
  const from = temporaryDirectory();
  const files = ["first.bin", "second.bin"].map((name) => path.join(from, name));
  files.forEach((file, at) => fs.writeFileSync(file, patterned(20_000_000, at)));
  server.delay = 20;
  const page = await openPage();
  let warned = false;
  page.on("dialog", (dialog) => { warned ||= dialog.type() === "beforeunload"; });
  await page.goto(`${server.url}/`);
  // A warning about leaving needs a person who has touched the page.
  await page.click("h1");
  await (await page.$("#upload input[type=file]")).uploadFile(...files);
  await until("a part of it is there", async () => await progress(page) > 0.2);
  // It stays in its middle, however long the next steps take.
  server.delay = SLOW;
  await page.reload();
  check(!warned, "a reload is not asked about, since the browser keeps the files");
  await until("it goes on", async () => /continued at [1-9]\d* %/.test((await texts(page, "#queue .text")).join()));
  check(true, "after a reload the upload goes on where it was, and says so");
  server.delay = 0;
  await until("both are there", () => files.every((file) => server.has(path.basename(file))));
  check(files.every((file) => sameBytes(file, path.join(server.directory, path.basename(file)))),
    "the files are the same, byte for byte");
  // The answers of the server, and then what the browser has kept.
  await until("the browser has forgotten them", () => page.evaluate(() => new Promise((resolve) => {
    const opening = indexedDB.open("uploads");
    opening.onsuccess = () => {
      const counting = opening.result.transaction("uploads").objectStore("uploads").count();
      counting.onsuccess = () => {
        opening.result.close();
        resolve(counting.result === 0);
      };
    };
  })));
  await page.reload();
  await until("the list shows them", () => page.$("#list"));
  check(await page.$eval("#queue", (queue) => queue.hidden), "what is done is forgotten");

  // Longer than what the browser is given to keep. It has holes, and takes no room on the disk.
  const large = path.join(from, "large.bin");
  fs.writeFileSync(large, "");
  fs.truncateSync(large, 513 * 1024 * 1024);
  server.delay = SLOW;
  await page.click("h1");
  await (await page.$("#upload input[type=file]")).uploadFile(large);
  await until("it is under way", () => page.$("#queue [data-state=sending]"));
  await page.reload();
  check(warned, "the page warns before a file is lost that would have to be chosen again");
});
