// New folder, rename, move, delete and undo: the disk has them, and the list shows them.

import { check, clickText, expectComplaints, openPage, scenario, serve, texts, until, waitForNames } from "../lib.mjs";

scenario(async () => {
  expectComplaints(/412 \(Precondition Failed\)/);
  const server = await serve(["--upload", "--modify"], { files: { "a.txt": "a", "b.txt": "b", "c.txt": "c" } });
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await clickText(page, "button", "New folder");
  await page.type("dialog input", "box ü");
  await page.keyboard.press("Enter");
  await waitForNames(page, ["box ü", "a.txt", "b.txt", "c.txt"]);
  check(server.names().includes("box ü"), "a new folder is on the disk");

  // In one step: the list is made anew after each change, and its boxes with it.
  const choose = (name) => page.$eval(`#list input[aria-label="${name}"]`, (box) => box.click());
  await choose("a.txt");
  await clickText(page, "#actions button", "Rename");
  await page.keyboard.type("renamed 文");
  await page.keyboard.press("Enter");
  await waitForNames(page, ["box ü", "renamed 文.txt", "b.txt", "c.txt"]);
  check(server.read("renamed 文.txt").toString() === "a", "a renamed file keeps its ending and its bytes");

  check(await page.$eval("#list .selected", (row) => row.textContent.includes("renamed")), "and stays selected");
  await page.click("#actions button[title='Select none']");
  await choose("b.txt");
  await clickText(page, "#actions button", "Rename");
  await page.keyboard.type("c");
  await page.keyboard.press("Enter");
  await until("the page says that the name is taken", async () => /already/.test(await texts(page, "#status .toast")));
  check(server.read("c.txt").toString() === "c", "a rename never replaces");

  await page.click("#actions button[title='Select none']");
  await choose("c.txt");
  await clickText(page, "#actions button", "Move");
  await clickText(page, "dialog .folder", "box ü");
  await until("the dialog is in the folder", async () => (await texts(page, "dialog .where"))[0] === "/box ü/");
  await clickText(page, "dialog button", "Move here");
  await waitForNames(page, ["box ü", "renamed 文.txt", "b.txt"]);
  check(server.read("box ü/c.txt").toString() === "c", "a moved file is in its new folder");

  await choose("b.txt");
  await clickText(page, "#actions button", "Delete");
  await waitForNames(page, ["box ü", "renamed 文.txt"]);
  check(server.has("b.txt"), "a deletion waits for a change of mind");
  await clickText(page, "#status button", "Undo");
  await waitForNames(page, ["box ü", "renamed 文.txt", "b.txt"]);

  await choose("b.txt");
  await choose("box ü");
  await clickText(page, "#actions button", "Delete");
  await until("they are gone from the disk", () => !server.has("b.txt") && !server.has("box ü"));
  check(server.names().join() === "renamed 文.txt", "after 8 s they are gone, the folder with all that was in it");

  await choose("renamed 文.txt");
  await clickText(page, "#actions button", "Delete");
  await waitForNames(page, []);
  await page.goto("about:blank");
  await until("it is gone", () => !server.has("renamed 文.txt"));
  check(true, "who leaves the page has deleted what it did not show any more");
});
