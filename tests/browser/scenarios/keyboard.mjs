// Without a mouse: everything in the list is done with keys.

import { check, equal, openPage, scenario, serve, texts, until, waitForNames } from "../lib.mjs";

const selected = (page) => page.$$eval("#list input[name=name]:checked", (boxes) => boxes.map((box) => box.value));
const focused = (page) => page.evaluate(() => document.activeElement.textContent);

scenario(async () => {
  const files = Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [`${name}.txt`, name]));
  const server = await serve(["--upload", "--modify"], { files: { ...files, "folder/in it.txt": "x" } });
  const page = await openPage();
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  await page.goto(`${server.url}/`);
  await press("Tab");
  equal(await focused(page), "Skip to the content", "the first key leads past the top");
  await press("ArrowDown", "ArrowDown");
  equal(await focused(page), "a.txt", "arrows go from row to row");
  await press("j", "k", "j");
  equal(await focused(page), "b.txt", "and so do j and k");
  await press("Space");
  equal(await selected(page), ["b.txt"], "space selects");
  await page.keyboard.down("Shift");
  await press("ArrowDown", "ArrowDown");
  await page.keyboard.up("Shift");
  equal(await selected(page), ["b.txt", "c.txt", "d.txt"], "shift selects a range");
  await press("Escape");
  equal(await selected(page), [], "Escape selects none");
  await page.keyboard.down("Control");
  await press("a");
  await page.keyboard.up("Control");
  check((await selected(page)).length === 6, "Ctrl+A selects all");
  await press("Escape", "Home", "ArrowDown", "F2");
  await page.keyboard.type("z");
  await press("Enter");
  await waitForNames(page, ["folder", "b.txt", "c.txt", "d.txt", "e.txt", "z.txt"]);
  await until("focus is on the renamed row", async () => await focused(page) === "z.txt");
  await press("Delete");
  await waitForNames(page, ["folder", "b.txt", "c.txt", "d.txt", "e.txt"]);
  await page.keyboard.down("Control");
  await press("z");
  await page.keyboard.up("Control");
  await waitForNames(page, ["folder", "b.txt", "c.txt", "d.txt", "e.txt", "z.txt"]);
  await press("?");
  await until("the keys are shown", () => page.$("dialog[open] .keys"));
  await press("Escape");
  await until("they are gone", async () => !await page.$("dialog"));
  await press("Home", "Enter");
  await until("Enter opens the folder", async () => page.url().endsWith("/folder/"));
  await waitForNames(page, ["in it.txt"]);

  // A range with the mouse and shift.
  await page.goto(`${server.url}/`);
  const boxes = await page.$$("#list input[name=name]");
  await boxes[1].click();
  await page.keyboard.down("Shift");
  await boxes[3].click();
  await page.keyboard.up("Shift");
  check((await selected(page)).length === 3, "a click with shift selects a range");
  equal(await texts(page, "#counted"), ["3 selected"], "the bar says how many");
});
