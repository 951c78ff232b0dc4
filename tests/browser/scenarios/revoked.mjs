// Access is ended while a person looks and an upload is under way: the page says so, and what to do.

import fs from "node:fs";
import path from "node:path";
import { accessible, check, equal, expectComplaints, linkOf, openPage, patterned, run, scenario, serve, SLOW,
  temporaryDirectory, texts, until, waitForNames } from "../lib.mjs";

scenario(async () => {
  expectComplaints(/40[134] \(/, /ERR_/);
  const server = await serve(["--share", "--upload", "--modify"], { files: { "a.txt": "a" } });
  const page = await openPage();
  await page.goto(await linkOf(server));
  await Promise.all([page.waitForNavigation(), page.click("main form button")]);
  await waitForNames(page, ["a.txt"]);
  const lost = await openPage(undefined, { language: "zh-CN" });
  await lost.goto(`${server.url}/none`);
  equal(await texts(lost, "main h1"), ["这里什么也没有"], "a problem is told in the reader's language");
  check(await lost.$("#sign-out"), "and its page has the way to sign out");
  await lost.close();
  const file = path.join(temporaryDirectory(), "large.bin");
  fs.writeFileSync(file, patterned(24_000_000));
  server.delay = 20;
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await until("a part of it is there", () =>
    page.$eval("#queue .uploads progress", (bar) => bar.value > 0.1).catch(() => false));
  // It stays in its middle, however long the next steps take.
  server.delay = SLOW;
  await run("tcp-server", ["peers", "revoke", "share-1"], server.home);
  await until("the page says that access has ended", () => page.$(".bar.ended"));
  check(true, "the page says that access has ended, at once");
  equal(await texts(page, "#queue .text"), ["Your access has ended"], "and so does the upload");
  check(!server.has("large.bin"), "nothing was stored");
  const visible = (selector) => page.$$eval(selector, (found) => found.filter((one) => one.checkVisibility()).length);
  equal(await visible("#upload, .change, #queue .play"), 0, "what can no longer be done is gone");
  check(await visible("#queue li"), "the queue stays in sight");
  await page.focus("#list a");
  await page.keyboard.press("Delete");
  await page.keyboard.press("F2");
  equal(await visible("#list tbody tr"), 1, "and no key does it");
  check(!await page.$(".renaming"), "nor renames");
  await accessible(page, "access that has ended");
  await Promise.all([page.waitForNavigation(), page.click(".bar.ended a")]);
  check(await page.$("[data-page=sign-in]"), "the notice leads to the page where one signs in");
});
