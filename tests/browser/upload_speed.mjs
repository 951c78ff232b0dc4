// How fast an upload from the page is, beside curl's PUT and a bare request of the same browser, alternating:
//     LANDLINE_PROGRAMS=target/release TMPDIR=/dev/shm node tests/browser/upload_speed.mjs [MIB] [ROUNDS]

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openPage, scenario, serve, temporaryDirectory, texts, until } from "./lib.mjs";

const mib = Number(process.argv[2] ?? 1024);
const rounds = Number(process.argv[3] ?? 5);

/** Sends the chosen file as a page without our script would: one PUT. In seconds. */
const bare = (page) => page.evaluate(async () => {
  const [file] = document.querySelector("#bare").files;
  const start = performance.now();
  await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", "/bare.bin");
    request.onload = () => request.status < 300 ? resolve() : reject(new Error(String(request.status)));
    request.onerror = () => reject(new Error("no answer"));
    request.send(file);
  });
  return (performance.now() - start) / 1000;
});

const median = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];

scenario(async () => {
  const server = await serve();
  const file = path.join(temporaryDirectory(), "large.bin");
  fs.writeFileSync(file, Buffer.alloc(mib * 1024 * 1024, "landline "));
  const seconds = { curl: [], page: [], "bare request": [] };
  const page = await openPage();
  for (let round = 0; round < rounds; round += 1) {
    const time = execFileSync("curl", ["-sSf", "-o", "/dev/null", "-w", "%{time_total}", "-T", file,
      `${server.direct}/curl.bin`]);
    seconds.curl.push(Number(time));
    fs.rmSync(path.join(server.directory, "curl.bin"));

    await page.goto(`${server.direct}/`);
    const start = performance.now();
    await (await page.$("#upload input[type=file]")).uploadFile(file);
    await until("the upload is done", async () => (await texts(page, "#queue .text")).some((it) => it.includes("done")));
    seconds.page.push((performance.now() - start) / 1000);
    fs.rmSync(path.join(server.directory, "large.bin"));

    await page.evaluate(() => {
      document.querySelector("#bare")?.remove();
      const input = Object.assign(document.createElement("input"), { type: "file", id: "bare" });
      document.body.append(input);
    });
    await (await page.$("#bare")).uploadFile(file);
    seconds["bare request"].push(await bare(page));
    fs.rmSync(path.join(server.directory, "bare.bin"));
  }
  console.log(`${mib} MiB, ${rounds} rounds, ${os.cpus()[0].model}, ${os.cpus().length} cores, load ${os.loadavg()[0]}`);
  for (const [what, times] of Object.entries(seconds)) {
    const ratio = median(seconds.curl) / median(times);
    console.log(`  ${what.padEnd(14)} ${median(times).toFixed(2)} s   ${ratio.toFixed(2)} x curl`);
  }
});
