// Each state of each page: axe-core finds nothing in light and dark, on a telephone and on a desk; the documents are
// valid; nothing is wider than the screen.

import fs from "node:fs";
import path from "node:path";
import { accessible, check, clickText, DESKTOP, equal, expectComplaints, load, openPage, packageFile, patterned, PHONE,
  scenario, serve, temporaryDirectory, until } from "../lib.mjs";

const LONG = "a name that goes on because its author did not stop, with_a_part_that_has_no_place_to_break ".repeat(2);
const WIDTHS = [360, 390, 768, 1280, 1920];

const states = [
  ["a list", async (page, url) => { await page.goto(url); }],
  ["a selection", async (page, url) => {
    await page.goto(url);
    for (const box of (await page.$$("#list tbody input")).slice(0, 2)) await box.click();
  }],
  ["a rename", async (page, url) => {
    await page.goto(url);
    await page.click("#list tbody tr:nth-child(2) input");
    await clickText(page, "#actions button", "Rename");
  }],
  ["an empty folder", async (page, url) => { await page.goto(`${url}empty/`); }],
  ["a new folder", async (page, url) => {
    await page.goto(url);
    await clickText(page, "button", "New folder");
  }],
  ["a move", async (page, url) => {
    await page.goto(url);
    await page.click("#list tbody tr:nth-child(2) input");
    await clickText(page, "#actions button", "Move");
    await until("folders are shown", () => page.$("dialog .folder"));
  }],
  ["the keys", async (page, url) => {
    await page.goto(url);
    await page.keyboard.press("?");
  }],
  ["an undo", async (page, url) => {
    await page.goto(url);
    await page.click("#list tbody tr:nth-child(3) input");
    await clickText(page, "#actions button", "Delete");
    await clickText(page, "#status button", "Undo");
    await page.click("#list tbody tr:nth-child(3) input");
    await clickText(page, "#actions button", "Delete");
  }, async (page) => { await clickText(page, "#status button", "Undo"); }],
  ["a search", async (page, url) => {
    await page.goto(url);
    await page.type("#term", "txt");
    await until("something is found", () => page.$("#below tbody tr"));
  }],
  ["the page of a search", async (page, url) => { await page.goto(`${url}?search=txt`); }],
  ["no result", async (page, url) => {
    await page.goto(url);
    await page.type("#term", "no such thing");
    const said = () => page.$eval("#below [role=status]", (told) => told.textContent).catch(() => "");
    await until("nothing is found", async () => /Nothing/.test(await said()));
  }],
  ["offline", async (page, url) => {
    await page.goto(url);
    await page.setOfflineMode(true);
    await until("the bar is there", () => page.$(".bar.offline"));
  }, (page) => page.setOfflineMode(false)],
  ["a text", async (page, url) => { await page.goto(`${url}a.txt?view`); }],
  ["Markdown", async (page, url) => { await page.goto(`${url}README.md?view`); }],
  ["no preview", async (page, url) => { await page.goto(`${url}x.bin?view`); }],
  ["nothing there", async (page, url) => { await page.goto(`${url}not/here`); }],
];

async function validator() {
  const { HtmlValidate } = await load("html-validate");
  return new HtmlValidate({
    extends: ["html-validate:recommended"],
    rules: {
      // How a document is laid out in lines is a matter of taste, and of its length.
      "no-trailing-whitespace": "off", "long-title": "off", "no-raw-characters": "off",
      // Boxes of one name are one field with several values.
      "form-dup-name": ["error", { shared: ["radio", "button", "reset", "submit", "checkbox"] }],
    },
  });
}

scenario(async () => {
  expectComplaints(/404 \(Not Found\)/, /ERR_INTERNET_DISCONNECTED/, /409|412/);
  const files = { "a.txt": "a\n".repeat(50), "b.txt": "b", [`${LONG.slice(0, 180)}.txt`]: "c", "x.bin": Buffer.alloc(9),
    "README.md": "# About\n\nA *word*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "folder/d.txt": "d" };
  const server = await serve(["--upload", "--modify"], { files });
  fs.mkdirSync(path.join(server.directory, "empty"));
  const url = `${server.url}/`;
  for (const [what, viewport] of [["phone", PHONE], ["desk", DESKTOP]]) {
    for (const theme of ["light", "dark"]) {
      for (const [state, show, leave] of states) {
        const page = await openPage(viewport);
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme },
          { name: "prefers-reduced-motion", value: "reduce" }]);
        await show(page, url);
        await accessible(page, `${state}, ${what}, ${theme}`);
        await leave?.(page);
        await page.close();
      }
    }
  }

  // Uploads in all their states, and a question.
  for (const [what, viewport, theme] of [["phone", PHONE, "dark"], ["desk", DESKTOP, "light"]]) {
    const from = temporaryDirectory();
    const some = ["b.txt", "new.bin", "other.bin", "third.bin"].map((name) => path.join(from, name));
    some.forEach((file, at) => fs.writeFileSync(file, patterned(8_000_000, at)));
    const page = await openPage(viewport);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme },
      { name: "prefers-reduced-motion", value: "reduce" }]);
    server.delay = 50;
    await page.goto(url);
    await (await page.$("#upload input[type=file]")).uploadFile(...some);
    await until("it asks", () => page.$("dialog[open]"));
    await accessible(page, `a conflict, ${what}, ${theme}`);
    await clickText(page, "dialog button", "Skip");
    await clickText(page, "#queue button", "Pause all");
    await until("they are paused", () => page.$("#queue [data-state=paused]"));
    await accessible(page, `uploads, ${what}, ${theme}`);
    for (const cancel of await page.$$("#queue button[aria-label^=Cancel]")) await cancel.click();
    server.delay = 0;
    await page.close();
  }

  const html = await validator();
  for (const where of ["", "empty/", "?search=txt", "a.txt?view", "README.md?view", "x.bin?view", "not/here"]) {
    const answer = await fetch(url + where, { headers: { Accept: "text/html" } });
    const report = await html.validateString(await answer.text());
    const told = report.results.flatMap(({ messages }) => messages).map((one) =>
      `${one.line}:${one.column} ${one.ruleId}: ${one.message} (${one.selector})`);
    if (told.length > 0) throw new Error(`html-validate, /${where}:\n${told.join("\n")}`);
    console.log(`  html-validate finds nothing: /${where}`);
  }

  const page = await openPage();
  await page.goto(url);
  const ground = () => page.$eval("body", (body) => getComputedStyle(body).backgroundColor);
  const [light, dark] = ["rgb(245, 247, 246)", "rgb(17, 21, 20)"];
  for (const [theme, here, other] of [["light", light, dark], ["dark", dark, light]]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    await page.evaluate(() => delete document.documentElement.dataset.theme);
    equal(await ground(), here, `${theme}, as the system has it`);
    await page.click("#theme");
    equal(await ground(), other, "and the other one by a switch");
    await page.emulateMediaType("print");
    equal(await ground(), "rgb(255, 255, 255)", "on paper it is white");
    await page.emulateMediaType("screen");
  }
  for (const where of ["", "?search=txt", "a.txt?view", "README.md?view", "not/here"]) {
    await page.goto(url + where);
    for (const width of WIDTHS) {
      await page.setViewport({ width, height: 800 });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) throw new Error(`/${where} is ${over} pixels too wide at ${width}`);
    }
    console.log(`  nothing is beyond the edge at ${WIDTHS.join(", ")} pixels: /${where}`);
  }
  check(packageFile("axe-core"), "all states were judged");
});
