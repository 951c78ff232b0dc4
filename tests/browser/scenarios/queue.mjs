// The queue: pause, go on, cancel; and a tab that was closed in the middle.

import fs from "node:fs";
import path from "node:path";
import { check, clickText, openPage, patterned, sameBytes, scenario, serve, SLOW, temporaryDirectory, texts,
  until } from "../lib.mjs";

const states = (page) => page.$$eval("#queue .uploads li", (rows) => rows.map((row) => row.dataset.state));
const row = async (page) => (await texts(page, "#queue .text")).join();

scenario(async () => {
  const server = await serve();
  const from = temporaryDirectory();
  const files = ["one.bin", "two.bin", "three.bin", "four.bin", "five.bin"].map((name) => path.join(from, name));
  files.forEach((file, at) => fs.writeFileSync(file, patterned(6_000_000, at)));
  server.delay = 20;
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await (await page.$("#upload input[type=file]")).uploadFile(...files);
  await until("three are sent, two wait", async () =>
    (await states(page)).join() === "sending,sending,sending,waiting,waiting");
  await until("something is there", () => page.$eval("#queue .uploads progress", (bar) => bar.value > 0.2));
  // It stays in its middle, however long the next steps take.
  server.delay = SLOW;
  await page.click("#queue button[aria-label='Pause one.bin']");
  await until("one is paused, and the next one is sent", async () =>
    (await states(page)).sort().join() === "paused,sending,sending,sending,waiting");
  await page.click("#queue button[aria-label='Cancel five.bin']");
  await until("one is canceled", async () => (await states(page)).length === 4);
  await clickText(page, "#queue button", "Pause all");
  await until("all are paused", async () => (await states(page)).every((state) => state === "paused"));
  check(true, "uploads are paused and canceled");

  // The tab is closed, and another one is opened later.
  await page.close();
  const next = await openPage();
  await next.goto(`${server.url}/`);
  await until("they are shown", async () => (await states(next)).length === 4);
  check((await states(next)).every((state) => state === "paused"), "what a closed tab has left waits for a word");
  await clickText(next, "#queue button", "Continue all");
  await until("one goes on where it was", async () => /continued at [1-9]\d* %/.test(await row(next)));
  server.delay = 0;
  await until("four are there", () => server.names().filter((name) => name.endsWith(".bin")).length === 4);
  check(files.slice(0, 4).every((file) => sameBytes(file, path.join(server.directory, path.basename(file)))),
    "all but the canceled one are there, byte for byte");
});
