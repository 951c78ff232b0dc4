// Lighthouse on the page of a directory and of a preview, as a telephone and as a desk: 95 of 100 at least.

import { check, load, openBrowser, scenario, serve } from "../lib.mjs";

const LEAST = 95;

scenario(async () => {
  const files = Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`file ${at}.txt`, "x".repeat(at)]));
  const server = await serve(["--upload", "--modify"], { files: { ...files, "README.md": "# About\n\nA *word*.\n" } });
  const { default: lighthouse, desktopConfig } = await load("lighthouse");
  const port = Number(new URL((await openBrowser()).wsEndpoint()).port);
  for (const where of ["/", "/README.md?view"]) {
    for (const [what, config] of [["phone", undefined], ["desk", desktopConfig]]) {
      const flags = { port, logLevel: "error", onlyCategories: ["performance", "accessibility", "best-practices"] };
      const { lhr } = await lighthouse(server.url + where, flags, config);
      const scores = Object.values(lhr.categories).map(({ title, score }) => [title, Math.round(score * 100)]);
      const found = scores.map(([title, score]) => `${title} ${score}`).join(", ");
      const bad = Object.values(lhr.audits).filter(({ score }) => score !== null && score < 0.9);
      const why = () => bad.map(({ id, title, displayValue }) => `${id}: ${title} ${displayValue ?? ""}`).join("\n");
      if (!scores.every(([, score]) => score >= LEAST)) throw new Error(`${where}, ${what}: ${found}\n${why()}`);
      check(true, `${where}, ${what}: ${found}`);
    }
  }
});
