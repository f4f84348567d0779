// Takes pictures of the dashboard for inspection: `node screenshot.mjs [DIRECTORY]`. The documentation's picture is
// `paper-light.png`, taken in the middle of the paper's sweep.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Place, launch, many, root, until } from "./harness.mjs";

const directory = resolve(process.argv[2] ?? join(root, "target/screenshots"));
mkdirSync(directory, { recursive: true });

const place = new Place();
const { context, close } = await launch();
const page = await context.newPage();

async function shoot(name, { width = 1280, height = 1400, colorScheme = "light", fullPage = true } = {}) {
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await page.waitForTimeout(900);
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage });
  console.log(`${name}.png`);
}

const value = (part) => page.locator("#overall").evaluate((bar) => bar.value / bar.max).then((done) => done >= part);

try {
  const paper = await place.run(join(root, "sweeps/paper.yaml"), { out: "paper" });
  await page.goto(paper.url);
  await until("a third is computed", () => value(0.33));
  await shoot("paper-light", { height: 800, fullPage: false });
  await shoot("paper-dark", { colorScheme: "dark" });
  await shoot("paper-320", { width: 320, height: 800 });
  await paper.ended;
  await shoot("paper-finished");
  await shoot("paper-finished-dark", { colorScheme: "dark" });

  const sweep = join(place.path, "many.yaml");
  writeFileSync(sweep, many(1000, { trials: 8, seeds: [451, 452, 453] }));
  const large = await place.run(sweep, { out: "many" });
  await page.goto(large.url);
  await until("a fifth is computed", () => value(0.2));
  await page.locator("#conditions button.fold").first().click();
  await shoot("many-light");
  await shoot("many-320", { width: 320, height: 800 });
  large.child.kill("SIGKILL");
  await large.ended;
  await shoot("many-lost");
} finally {
  await close();
  await place.remove();
}
