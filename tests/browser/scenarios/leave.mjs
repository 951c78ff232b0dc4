// While files are sent, the page's own links do not end that: the list changes in place, all else opens in a new tab.

import fs from "node:fs";
import path from "node:path";
import { check, equal, names, openPage, patterned, sameBytes, scenario, serve, SLOW, temporaryDirectory, texts,
  until } from "../lib.mjs";

const isSending = (page) => page.$("#queue [data-state=sending]");

/** The tab that a step opens. */
async function opened(page, step) {
  const target = new Promise((resolve) => page.browser().once("targetcreated", resolve));
  await step();
  const tab = await (await target).page();
  await until("the new tab has its page", () => tab.$("main").catch(() => undefined));
  return tab;
}

scenario(async () => {
  const server = await serve(undefined, { files: { "a.txt": "longer", "b.txt": "b", "dir/c.txt": "c" } });
  const page = await openPage();
  await page.goto(`${server.url}/`);
  const file = path.join(temporaryDirectory(), "large.bin");
  fs.writeFileSync(file, patterned(20_000_000));
  server.delay = SLOW;
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await until("it is under way", () => isSending(page));

  const preview = await opened(page, () => page.click("#list a[href$='a.txt?view']"));
  equal(await texts(preview, "#preview"), ["longer"], "a preview opens in a new tab");
  equal(await texts(page, "#status p"), ["It opens in a new tab, so that this one can go on uploading"],
    "the page says why");
  await page.bringToFront();
  const directory = await opened(page, () => page.click("#list a[href='dir/']"));
  equal(await names(directory), ["c.txt"], "so does a directory");
  check(await directory.$eval("#queue", (queue) => queue.hidden), "which leaves the upload to the first tab");
  await page.bringToFront();
  check(await page.$$eval("#status p", (told) => told.length < 2), "the page says so once");

  await page.click("#list thead a[href*=size]");
  await until("the list is sorted in place", async () => (await names(page)).join() === "dir,b.txt,a.txt");
  check(page.url().includes("sort=size"), "a column sorts in place, and the address says so");
  await page.goBack();
  await until("it is as before", async () => (await names(page)).join() === "dir,a.txt,b.txt");
  check(await isSending(page), "and the upload goes on");

  server.delay = 0;
  await until("it is there", () => server.has("large.bin"));
  check(sameBytes(file, path.join(server.directory, "large.bin")), "the file is the same, byte for byte");
  await until("the upload is over", () => page.$("#queue [data-state=done]"));
  await Promise.all([page.waitForNavigation(), page.click("#list a[href='dir/']")]);
  equal(await names(page), ["c.txt"], "a link leads on in the same tab then");
});
