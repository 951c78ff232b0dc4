// Without JavaScript: look, sort, search, open, download, send a form, fetch several as one zip.

import fs from "node:fs";
import path from "node:path";
import { check, equal, openPage, patterned, sameBytes, scenario, serve, temporaryDirectory, texts,
  until } from "../lib.mjs";

const shown = (page) => texts(page, "#list tbody td:nth-child(2) a:not([download])");

scenario(async () => {
  const server = await serve(["--upload", "--modify"],
    { files: { "b.txt": "bb", "a.txt": "aaa", "dir/deep.txt": "x", "README.md": "# Read *me*" } });
  const page = await openPage(undefined, { javascript: false });
  await page.goto(`${server.url}/`);
  equal(await shown(page), ["dir/", "a.txt", "b.txt", "README.md"], "the list is there");
  equal(await texts(page, "#readme .markdown :is(h1, h2, h3)"), ["Read me"], "and so is the README");
  await Promise.all([page.waitForNavigation(), page.click("#list thead a[href*=size]")]);
  check((await shown(page)).indexOf("b.txt") < (await shown(page)).indexOf("a.txt"), "a column sorts");
  await Promise.all([page.waitForNavigation(), page.click("#list a[href='dir/']")]);
  equal(await shown(page), ["deep.txt"], "a folder opens");

  const file = path.join(temporaryDirectory(), "sent by form.bin");
  fs.writeFileSync(file, patterned(300_000));
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await Promise.all([page.waitForNavigation(), page.click("#upload button")]);
  check(sameBytes(file, path.join(server.directory, "dir", path.basename(file))), "a form sends a file");

  fs.writeFileSync(file, "another");
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await Promise.all([page.waitForNavigation(), page.click("#upload button")]);
  equal(await shown(page), ["deep.txt", "sent by form.bin", "sent by form (1).bin"].sort(),
    "a form replaces nothing by itself");
  await page.select("#exists", "replace");
  await (await page.$("#upload input[type=file]")).uploadFile(file);
  await Promise.all([page.waitForNavigation(), page.click("#upload button")]);
  check(sameBytes(file, path.join(server.directory, "dir", path.basename(file))), "but where that is chosen");
  await page.goto(`${server.url}/`);
  await page.type("#term", "deep");
  await Promise.all([page.waitForNavigation(), page.click("#search button")]);
  equal(await texts(page, "#results tbody td:first-child"), ["deep.txt"], "the search is a page");

  const downloads = temporaryDirectory();
  const client = await page.createCDPSession();
  await client.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
  await page.goto(`${server.url}/`);
  for (const name of ["a.txt", "b.txt"]) await page.click(`#list input[value='${name}']`);
  await page.click("#actions button");
  const zip = await until("the zip is there", () => fs.readdirSync(downloads).find((name) => name.endsWith(".zip")));
  const bytes = fs.readFileSync(path.join(downloads, zip)).toString("latin1");
  check(bytes.includes("a.txt") && bytes.includes("b.txt") && !bytes.includes("deep.txt"),
    "the selected files come as one zip");
  await page.goto(`${server.url}/a.txt?view`);
  equal(await texts(page, "#preview"), ["aaa"], "a preview is there");
});
