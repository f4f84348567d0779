// Tests of the documentation site in a real browser: `node tests/browser/site.mjs DIRECTORY`, with a built site, after
// `npm ci` in tests/browser. Each page is opened at the width of a desktop and of a phone, in light and dark. Ends with
// exit code 1 if a check fails.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch, until } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const directory = resolve(process.argv[2] ?? "target/site");
const pages = readdirSync(directory).filter((name) => name.endsWith(".html") && !["404.html", "toc.html"].includes(name));
assert.ok(pages.length > 20, `${directory} has ${pages.length} pages only`);

const { context, close } = await launch();
const page = await context.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(`${page.url()}: ${error}`));

const open = (name) => page.goto(pathToFileURL(join(directory, name)).href, { waitUntil: "load" });

for (const [width, height] of [[1280, 900], [390, 844]]) {
  for (const colorScheme of ["light", "dark"]) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const name of pages) {
      await open(name);
      const where = `${name}, ${width} px, ${colorScheme}`;
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) problems.push(`${where}: the page is ${wide} px wider than the window`);
      const pictures = await page.evaluate(() => [...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => image.src));
      problems.push(...pictures.map((source) => `${where}: ${source} is not shown`));
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      problems.push(...violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.slice(0, 3).map(({ target }) => target.join(" ")).join("; ")}`));
    }
  }
}

await page.setViewportSize({ width: 1280, height: 900 });
await open("index.html");
await page.keyboard.press("/");
await page.locator("#mdbook-searchbar, #searchbar").first().pressSequentially("golgi.leak_reversal", { delay: 10 });
const found = () => page.locator("#mdbook-searchresults li, #searchresults li").allTextContents();
await until("the search finds the parameter", async () => (await found()).some((text) => text.includes("Parameters")), 20_000).catch((error) => problems.push(String(error)));

await close();
console.log(`${pages.length} pages, ${problems.length} problems`);
problems.forEach((problem) => console.log(problem));
process.exitCode = problems.length ? 1 : 0;
