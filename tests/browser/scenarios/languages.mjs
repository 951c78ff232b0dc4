// English and Chinese: each page, and what its script says, in the language that the browser asks for.

import { check, clickText, equal, openPage, scenario, serve, texts, until } from "../lib.mjs";

const HAN = /\p{Script=Han}/u;

scenario(async () => {
  const server = await serve(["--upload", "--modify"], { files: { "a.txt": "a", "b.txt": "b" } });
  for (const [language, tag] of [["en-GB,en;q=0.9", "en"], ["zh-CN,zh;q=0.9", "zh-Hans"]]) {
    const page = await openPage(undefined, { language });
    await page.goto(`${server.url}/`);
    equal(await page.$eval("html", (html) => html.lang), tag, `the page is ${tag}`);
    const isHan = tag === "zh-Hans";
    // Names, sizes, times and the languages' own names are no sentences.
    const ours = () => texts(page, "#upload label, #upload button, caption, #list th, #actions button, h2");
    const isRight = (text) => text === "" || HAN.test(text) === isHan;
    const wrong = (await ours()).filter((text) => !isRight(text));
    equal(wrong, [], "all of its words are in that language");
    await page.keyboard.press("?");
    await until("the keys are shown", () => page.$("dialog[open]"));
    equal((await texts(page, "dialog dd")).filter((text) => !isRight(text)), [], "and what its script says is, too");
    await page.keyboard.press("Escape");
    await page.close();
  }
  const page = await openPage();
  await page.goto(`${server.url}/`);
  await Promise.all([page.waitForNavigation(), clickText(page, "#languages a", "简体中文")]);
  await page.goto(`${server.url}/`);
  check(await page.$eval("html", (html) => html.lang) === "zh-Hans", "a choice of language stays");
});
