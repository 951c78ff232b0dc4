// Sign-in by link: a button, once, and no secret in the address; signing out ends it.

import { accessible, check, equal, expectComplaints, linkOf, openBrowser, openPage, PHONE, run, scenario, serve, texts,
  waitForNames } from "../lib.mjs";

scenario(async () => {
  expectComplaints(/40[13] \(/);
  const server = await serve(["--share", "--upload", "--modify"], { files: { "a.txt": "a" } });
  const link = await linkOf(server);
  const page = await openPage(PHONE);
  await page.goto(`${server.url}/`);
  check(await page.$("[data-page=sign-in] input[type=password]"), "who has no link can type a token");
  await accessible(page, "the page of signing in");
  await page.goto(link);
  equal(page.url(), `${server.url}/`, "the secret is not in the address");
  await accessible(page, "the page of a link");
  await Promise.all([page.waitForNavigation(), page.click("main form button")]);
  await waitForNames(page, ["a.txt"]);
  check((await texts(page, "#visitor"))[0].includes("share-1"), "the page says who is signed in");

  const other = await (await (await openBrowser()).createBrowserContext()).newPage();
  await other.goto(link);
  await Promise.all([other.waitForNavigation(), other.click("main form button")]);
  check(/does not work/.test(await other.$eval("h1", (h1) => h1.textContent)), "the link works once");

  await Promise.all([page.waitForNavigation(), page.click("#sign-out button")]);
  const [token] = /landline_\w+/.exec(await run("tcp-server", ["token", "add", "ci", "--allow", "read"], server.home));
  await page.goto(`${server.url}/a.txt?view`);
  for (const typed of ["wrong", token]) {
    await page.type("#token", typed);
    await Promise.all([page.waitForNavigation(), page.click("main form button")]);
  }
  equal(page.url(), `${server.url}/a.txt?view`, "a sign-in leads where the visitor was going, at the second try too");
  await Promise.all([page.waitForNavigation(), page.click("#sign-out button")]);
  await page.goto(`${server.url}/`);
  check(await page.$("[data-page=sign-in]"), "who signs out is out");
});
