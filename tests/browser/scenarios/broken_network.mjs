// A network that goes away in the middle of an upload: it goes on where it was, and the row says so.

import fs from "node:fs";
import path from "node:path";
import { check, expectComplaints, openPage, patterned, sameBytes, scenario, serve, SLOW, temporaryDirectory, texts,
  until } from "../lib.mjs";

const progress = (page) => page.$eval("#queue .uploads progress", (bar) => bar.value).catch(() => 0);

scenario(async () => {
  expectComplaints(/ERR_INTERNET_DISCONNECTED/, /ERR_CONNECTION_REFUSED/);
  const server = await serve();
  const file = path.join(temporaryDirectory(), "large.bin");
  fs.writeFileSync(file, patterned(24_000_000));
  server.delay = 20;
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await until("a part of it is there", async () => await progress(page) > 0.2);
  // It stays in its middle, however long the next steps take.
  server.delay = SLOW;
  await page.setOfflineMode(true);
  const row = async () => (await texts(page, "#queue .text")).join();
  await until("the row says that there is no connection", async () => /No connection/.test(await row()));
  await until("the page says that it is offline", () => page.$(".bar.offline"));
  check(!server.has("large.bin"), "half an upload is no file");
  await page.setOfflineMode(false);
  await until("it goes on", async () => /continued at [1-9]\d* %/.test(await row()));
  check(!await page.$(".bar.offline"), "the page is online again, and the upload goes on where it was");
  server.delay = 0;
  await until("it is there", () => server.has("large.bin"));
  check(sameBytes(file, path.join(server.directory, "large.bin")), "the file is the same, byte for byte");
});
