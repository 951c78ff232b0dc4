// A preview of each kind, and the way to its neighbours.

import fs from "node:fs";
import path from "node:path";
import { check, equal, openPage, PHONE, scenario, serve, texts, until } from "../lib.mjs";

/** A second of silence (WAV). */
function silence() {
  const head = Buffer.alloc(44);
  const length = 8_000;
  head.write("RIFF", 0);
  head.writeUInt32LE(36 + length, 4);
  head.write("WAVEfmt ", 8);
  for (const [at, value] of [[16, 16], [24, 8_000], [28, 8_000]]) head.writeUInt32LE(value, at);
  for (const [at, value] of [[20, 1], [22, 1], [32, 1], [34, 8]]) head.writeUInt16LE(value, at);
  head.write("data", 36);
  head.writeUInt32LE(length, 40);
  return Buffer.concat([head, Buffer.alloc(length, 128)]);
}

const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const PDF = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj
trailer<</Root 1 0 R>>
`;

/** A second of a picture that changes, made by the browser itself. */
async function video(page) {
  const base64 = await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    const recorder = new MediaRecorder(canvas.captureStream(10), { mimeType: "video/webm" });
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    for (let at = 0; at < 10; at += 1) {
      context.fillStyle = `hsl(${at * 36} 80% 50%)`;
      context.fillRect(0, 0, canvas.width, canvas.height);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    recorder.stop();
    await stopped;
    const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
  });
  return Buffer.from(base64, "base64");
}

scenario(async () => {
  const gbk = Buffer.from("d6d0cec4b2e2cad4a3acb1e0c2ebcac747424ba1a3d5e2cac7d2bbb6cec4dac8dda1a3", "hex");
  const files = {
    "1 gbk.txt": gbk,
    "2 readme.md": "# Title\n\nA *word*, `code` and <script>alert(1)</script>.\n",
    "3 picture.png": PNG,
    "4 sound.wav": silence(),
    "6 paper.pdf": PDF,
    "7 unknown.bin": Buffer.alloc(100),
    "8 utf8.txt": "plain ünïcode\n",
  };
  // The page of a file has no place for uploads, also where they are allowed.
  const server = await serve(["--upload", "--modify"], { files });
  const page = await openPage();
  await page.goto(`${server.url}/`);
  fs.writeFileSync(path.join(server.directory, "5 film.webm"), await video(page));

  const view = (name, more = "") => page.goto(`${server.url}/${encodeURIComponent(name)}?view${more}`);
  await view("1 gbk.txt");
  check((await texts(page, "#preview"))[0].startsWith("中文测试，编码是GBK。"), "a text in GBK is readable");
  await page.select("#encoding select", await page.$$eval("#encoding option",
    (options) => options.find((option) => /gb18030/i.test(option.value))?.value ?? ""));
  await until("the encoding can be chosen", () => page.url().includes("encoding="));
  await view("2 readme.md");
  equal(await texts(page, "#preview h1, #preview h2"), ["Title"], "Markdown is shown as it is meant");
  check(!await page.$("#preview script"), "without what acts in it");
  await view("3 picture.png");
  const width = await page.$eval("#preview img", (image) => image.decode().then(() => image.naturalWidth));
  equal(width, 1, "a picture is shown");
  fs.writeFileSync(path.join(server.directory, "drawing.svg"), `<svg xmlns="http://www.w3.org/2000/svg" width="30"
    height="20" onload="alert(1)"><style>rect { fill: #f00 }</style><rect width="30" height="20"/>
    <script>alert(2)</script></svg>`);
  await view("drawing.svg");
  const [size, colour] = await page.$eval("#preview img", async (image) => {
    await image.decode();
    const context = document.createElement("canvas").getContext("2d");
    context.drawImage(image, 0, 0);
    return [[image.naturalWidth, image.naturalHeight], [...context.getImageData(5, 5, 1, 1).data]];
  });
  equal(size, [30, 20], "a drawing is a picture");
  equal(colour, [255, 0, 0, 255], "with its own colours");
  await view("drawing.svg", "&source");
  check((await texts(page, "#preview"))[0].includes("<script>alert(2)"), "and its source can be read");
  fs.rmSync(path.join(server.directory, "drawing.svg"));
  for (const [name, kind] of [["4 sound.wav", "audio"], ["5 film.webm", "video"]]) {
    await view(name);
    await until(`${kind} can be played`, () => page.$eval(`#preview ${kind}`, (media) => media.readyState >= 1));
    const at = await page.$eval(`#preview ${kind}`, async (media) => {
      const sought = new Promise((resolve) => { media.onseeked = resolve; });
      media.currentTime = 0.3;
      await sought;
      return media.currentTime;
    });
    check(Math.abs(at - 0.3) < 0.2, `${kind} is played, and seeks`);
  }
  await view("6 paper.pdf");
  check(await page.$eval("#preview iframe", (frame) => frame.src.endsWith(".pdf")), "a PDF has a frame of its own");
  await view("7 unknown.bin");
  check(await page.$("#preview[data-kind=none]"), "what has no preview says so");

  await view("2 readme.md");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("ArrowRight")]);
  check(page.url().includes("3%20picture.png"), "the right arrow leads to the next one");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("ArrowLeft")]);
  check(page.url().includes("2%20readme.md"), "the left arrow leads back");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Escape")]);
  equal(new URL(page.url()).pathname, "/", "Escape leads to the list");

  const phone = await openPage(PHONE);
  await phone.goto(`${server.url}/${encodeURIComponent("3 picture.png")}?view`);
  // Before its first frames the browser does not know that the page wants touches.
  await phone.evaluate(() => new Promise((drawn) => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(drawn, 100)));
  }));
  const touch = await phone.touchscreen.touchStart(300, 500);
  await touch.move(200, 500);
  await touch.move(80, 505);
  await touch.end();
  await until("a swipe leads to the next one", () => phone.url().includes("4%20sound.wav"));
  check(true, "a swipe leads to the next one");
});
