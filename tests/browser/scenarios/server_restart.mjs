// The server is restarted in the middle of an upload: its new process goes on with what the old one had.

import fs from "node:fs";
import path from "node:path";
import { check, expectComplaints, openPage, patterned, sameBytes, scenario, serve, SLOW, temporaryDirectory, texts,
  until } from "../lib.mjs";

const progress = (page) => page.$eval("#queue .uploads progress", (bar) => bar.value).catch(() => 0);

scenario(async () => {
  expectComplaints(/ERR_(CONNECTION|EMPTY|SOCKET|INCOMPLETE)/, /503/);
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
  await server.stop();
  const row = async () => (await texts(page, "#queue .text")).join();
  await until("the row says that there is no connection", async () => /No connection/.test(await row()));
  await server.start();
  await until("it goes on", async () => /continued at [1-9]\d* %/.test(await row()));
  server.delay = 0;
  await until("it is there", () => server.has("large.bin"));
  check(sameBytes(file, path.join(server.directory, "large.bin")),
    "the upload went on in the new process, and the file is the same, byte for byte");
});
