// Makes the pictures of the README from the real page: node tests/browser/pictures.mjs, after cargo build.

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openPage, patterned, scenario, serve, temporaryDirectory, until } from "./lib.mjs";
import { smallPng } from "./png.mjs";

const to = fileURLToPath(new URL("../../docs/pictures", import.meta.url));
const LEN_MAX = 80 * 1024;
const HOUR = 3_600_000;

const FILES = {
  "Minutes of the meeting.md": [4_211, 2], "Budget 2026.xlsx": [88_123, 30], "Interview (final).mp4": [148_123_456, 5],
  "Slides for Monday.pdf": [3_400_000, 20], "音乐会照片.jpg": [2_812_345, 90], "source.tar.gz": [912_999, 400],
  "IMG_20260712_183015.jpg": [4_123_456, 9], "notes.txt": [1_204, 1],
};

async function save(page, name) {
  const shot = await page.screenshot({ encoding: "base64" });
  const { width, height, rgba } = await page.evaluate(async (base64) => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    let text = "";
    for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
    return { width: bitmap.width, height: bitmap.height, rgba: btoa(text) };
  }, shot);
  const png = smallPng(width, height, Buffer.from(rgba, "base64"));
  if (png.length > LEN_MAX) throw new Error(`${name} has ${png.length} bytes, more than ${LEN_MAX}`);
  fs.writeFileSync(path.join(to, name), png);
  console.log(`  ${name}: ${png.length} bytes`);
}

scenario(async () => {
  fs.mkdirSync(to, { recursive: true });
  const server = await serve(["--upload", "--modify", "--title", "Team"]);
  for (const name of ["Designs", "Photos"]) fs.mkdirSync(path.join(server.directory, name));
  for (const [name, [size, hours]] of Object.entries(FILES)) {
    const file = path.join(server.directory, name);
    fs.writeFileSync(file, "");
    fs.truncateSync(file, size);
    const time = new Date(Date.now() - hours * HOUR);
    fs.utimesSync(file, time, time);
  }
  const from = temporaryDirectory();
  const sent = ["Holiday.mov", "Holiday 2.mov", "Recording.wav"].map((name) => path.join(from, name));
  sent.forEach((file, at) => fs.writeFileSync(file, patterned(9_000_000 + at * 4_000_000, at)));

  const desk = await openPage({ width: 1100, height: 720 });
  await desk.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await desk.goto(`${server.url}/`);
  for (const at of [4, 6]) await desk.click(`#list tbody tr:nth-child(${at}) input`);
  await until("the bar is there", () => desk.$(".selecting #actions"));
  await save(desk, "list.png");

  const phone = await openPage({ width: 390, height: 760, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true });
  await phone.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  server.delay = 40;
  await phone.goto(`${server.url}/`);
  await (await phone.$("#upload input[type=file]")).uploadFile(...sent);
  await until("they are under way", () => phone.$eval("#queue .uploads progress", (bar) => bar.value > 0.4));
  await save(phone, "phone.png");
});
