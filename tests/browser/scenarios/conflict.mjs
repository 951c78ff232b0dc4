// Files whose names are taken: asked once each, or once for all; nothing is replaced without a word.

import fs from "node:fs";
import path from "node:path";
import { check, clickText, equal, expectComplaints, openPage, scenario, serve, temporaryDirectory, texts, until,
  uploadsAreOver, waitForNames } from "../lib.mjs";

scenario(async () => {
  expectComplaints(/412 \(Precondition Failed\)/);
  const old = { "a.txt": "old a", "b.txt": "old b", "c.txt": "old c" };
  const server = await serve(["--upload", "--modify"], { files: old });
  const from = temporaryDirectory();
  const files = ["a.txt", "b.txt", "c.txt"].map((name) => path.join(from, name));
  for (const file of files) fs.writeFileSync(file, `new ${path.basename(file)}`);
  const page = await openPage();
  const send = async (...some) => (await page.$("#upload input[type=file]")).uploadFile(...some);
  await page.goto(`${server.url}/`);

  await send(files[0]);
  await until("it asks", () => page.$("dialog[open]"));
  equal(await texts(page, "dialog h2"), ["a.txt is here already"], "it asks about the file by its name");
  await clickText(page, "dialog button", "Keep both");
  await waitForNames(page, ["a.txt", "a (2).txt", "b.txt", "c.txt"]);
  await uploadsAreOver(page);
  equal([server.read("a.txt"), server.read("a (2).txt")].map(String), ["old a", "new a.txt"], "both are there");

  await send(files[1]);
  await until("it asks", () => page.$("dialog[open]"));
  await clickText(page, "dialog button", "Replace");
  await until("it is replaced", () => String(server.read("b.txt")) === "new b.txt");
  check(true, "replaced after a yes");

  // A file that is chosen again while it is on its way is the same upload.
  await uploadsAreOver(page);
  await send(...files);
  await until("it asks", () => page.$("dialog[open] input[type=checkbox]"));
  await page.click("dialog input[type=checkbox]");
  await clickText(page, "dialog button", "Keep both");
  await waitForNames(page, ["a.txt", "a (2).txt", "a (3).txt", "b.txt", "b (2).txt", "c.txt", "c (2).txt"]);
  check(!await page.$("dialog"), "one answer is for all of them");

  await uploadsAreOver(page);
  await send(files[2]);
  await until("it asks", () => page.$("dialog[open]"));
  await clickText(page, "dialog button", "Skip");
  await until("it is skipped", async () => (await texts(page, "#queue .text")).includes("skipped"));
  equal(String(server.read("c.txt")), "old c", "what is skipped stays as it was");
});
