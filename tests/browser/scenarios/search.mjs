// Search: what is typed filters the list at once, and what is below is searched after a pause.

import { equal, openPage, scenario, serve, texts, until, waitForNames } from "../lib.mjs";

scenario(async () => {
  const files = { "report.txt": "x", "photo.jpg": "x", "deep/er/annual report.txt": "x", "deep/other.txt": "x" };
  const server = await serve(["--upload", "--modify"], { files });
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await page.keyboard.press("/");
  await page.keyboard.type("REPORT");
  await waitForNames(page, ["report.txt"]);
  await until("it finds what is below", async () =>
    (await texts(page, "#below [role=status]")).join() === "1 more found");
  equal(await texts(page, "#below tbody tr td:first-child"), ["annual report.txt"],
    "what is below is found, whatever the case, and what the list shows is not repeated");
  await page.keyboard.press("Escape");
  await waitForNames(page, ["deep", "photo.jpg", "report.txt"]);
  await until("Escape takes the search away", async () => !await page.$("#below tbody tr"));

  await page.goto(`${server.url}/?search=report`);
  equal((await texts(page, "#results tbody tr td:first-child")).sort(), ["annual report.txt", "report.txt"],
    "the page of a search shows the same");
  await page.click("#results tbody tr td a[href*=annual]");
  await until("a result opens", () => page.url().includes("/deep/er/"));
});
