// Access is ended while a person looks and an upload is under way: the page says so, and what to do.

import fs from "node:fs";
import path from "node:path";
import { accessible, check, equal, expectComplaints, linkOf, openPage, patterned, run, scenario, serve, SLOW,
  temporaryDirectory, texts, until, waitForNames } from "../lib.mjs";

scenario(async () => {
  expectComplaints(/40[13] \(/, /ERR_/);
  const server = await serve(["--share", "--upload", "--modify"], { files: { "a.txt": "a" } });
  const page = await openPage();
  await page.goto(await linkOf(server));
  await Promise.all([page.waitForNavigation(), page.click("main form button")]);
  await waitForNames(page, ["a.txt"]);
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
  await accessible(page, "access that has ended");
  await Promise.all([page.waitForNavigation(), page.click(".bar.ended button")]);
  check(await page.$("[data-page=sign-in]"), "a new visit needs a new link");
});
