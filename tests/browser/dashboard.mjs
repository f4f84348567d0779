// Tests of the dashboard in a real browser: `node tests/browser/dashboard.mjs`, after `npm ci` there and `cargo build
// --release`. Ends with a summary, and with exit code 1 if a check fails.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Place, launch, many, until } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const results = [];

/** Runs one check and records its result. */
async function check(what, test) {
  const begun = Date.now();
  try {
    await test();
    results.push([what, null]);
    console.log(`ok    ${what} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    results.push([what, error]);
    console.log(`FAIL  ${what}\n${error.stack}`);
  }
}

const place = new Place();
const { context, close } = await launch();
const page = await context.newPage();

/** Messages of the browser's console. Connection errors are expected while the coordinator is down. */
const complaints = [];
let isDown = false;
page.on("console", (message) => {
  const isExpected = isDown && /net::ERR_|status of 401/.test(message.text());
  if (["error", "warning"].includes(message.type()) && !isExpected) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));

const text = (id) => page.locator(`#${id}`).textContent();
const stored = () => page.locator("#overall").evaluate((bar) => bar.value);
const shows = (id, part) => until(`#${id} says “${part}”`, async () => (await text(id)).includes(part));

/** Waits for this number of elements: the page draws once a frame, so a single look could be too early. */
const has = (count, what) => until(`there are ${count} of ${what}`, async () => (await page.locator(what).count()) === count);

async function violations(colorScheme) {
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  // Run beside the page's own scripts, so that the page's policy applies to axe, too.
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.ok(passes.length > 15, `axe looked at ${passes.length} rules only`);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join("; ")}`);
}

/** The elements that the Tab key reaches, from the top to the end of the page. */
async function tabStops() {
  await page.evaluate(() => {
    document.activeElement?.blur();
    window.scrollTo(0, 0);
    document.body.tabIndex = -1;
    document.body.focus();
  });
  const stops = [];
  for (let press = 0; press < 300; press += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const focused = document.activeElement;
      if (!focused || focused === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(focused);
      const name = focused.getAttribute("aria-label") ?? focused.textContent.trim();
      const outline = outlineStyle === "none" ? 0 : Number.parseFloat(outlineWidth);
      return { key: `${focused.tagName} ${focused.id || focused.name || ""} ${name}`.slice(0, 80), outline };
    });
    if (stop === null || (stops.length > 0 && stop.key === stops[0].key)) break;
    stops.push(stop);
  }
  await page.evaluate(() => document.body.removeAttribute("tabindex"));
  return stops;
}

const slow = join(place.path, "slow.yaml");
writeFileSync(slow, `name: slow
network: { mossy_fibers: 157, granule_cells: 2048, golgi_cells: 14 }
seeds: [451, 452]
trials: 240
record: { conductances: false }
conditions:
  - Control
  - GABAzine
  - ACh
  - { name: half, base: Control, set: { granule.tonic_factor: 0.5 } }
`);

try {
  const first = await place.run(slow);
  const { port } = new URL(first.url);

  await check("the page loads and shows the sweep", async () => {
    await page.goto(first.url);
    await shows("sweep", "slow");
    await shows("link", "live");
    await has(4, "#conditions tbody tr");
    await has(3, "#plots figure");
  });

  await check("progress moves", async () => {
    const before = await stored();
    await until("more is stored", async () => (await stored()) > before);
    assert.match(await text("stored"), /^\d+ of 1920 \(\d+ %\)$/);
    await until("the title says how far", async () => /^\d+ % · slow · granule$/.test(await page.title()));
  });

  await check("spikes over time fill up", async () => {
    const label = () => page.locator("#plots figure[aria-label=GABAzine] svg").first().getAttribute("aria-label");
    await until("there are spikes", async () => /highest [\d.]*[1-9][\d.]* Hz at 10\d\d ms/.test((await label()) ?? ""));
    const path = () => page.locator("#plots figure[aria-label=GABAzine] path.rate").first().getAttribute("d");
    const before = await path();
    await until("they change", async () => (await path()) !== before);
    await page.locator("#plots figure[aria-label=GABAzine] summary").click();
    // One row for every 5 ms from 950 to 1200 ms.
    await has(3 * 50, "#plots figure[aria-label=GABAzine] tbody td");
    await page.locator("#plots figure[aria-label=GABAzine] summary").click();
  });

  await check("conditions are chosen, unfolded and filtered", async () => {
    await page.getByRole("checkbox", { name: "Plot half" }).check();
    await has(2, "#plots figure[aria-label=half] path.rate");
    await page.getByRole("button", { name: "Remove the plot of half" }).click();
    await has(3, "#plots figure");
    await until("its box says so", async () => !(await page.getByRole("checkbox", { name: "Plot half" }).isChecked()));
    await page.getByRole("button", { name: "GABAzine", exact: true }).click();
    await has(2, "#conditions tr.seed");
    await page.locator("#filter").fill("gaba");
    await has(3, "#conditions tbody tr");
    await page.locator("#filter").fill("");
    await has(6, "#conditions tbody tr");
  });

  await check("axe finds nothing, in light and dark", async () => {
    for (const colorScheme of ["dark", "light"]) assert.deepEqual(await violations(colorScheme), [], colorScheme);
  });

  await check("the keyboard comes to everything, and is seen there", async () => {
    const stops = await tabStops();
    const keys = stops.map(({ key }) => key).join("\n");
    for (const part of ["A  Skip to the content", "INPUT span", "INPUT same-scale", "Remove the plot of ACh", "SUMMARY  ACh as a table",
      "INPUT filter", "SELECT which", "Plot Control", "Plot half", "BUTTON  GABAzine", "INPUT only-trouble", "DIV log-box"]) {
      assert.ok(keys.includes(part), `no “${part}” in\n${keys}`);
    }
    assert.deepEqual(stops.filter(({ outline }) => outline < 2), [], "each is seen");
    await page.evaluate(() => document.querySelector(".skip").focus());
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  });

  await check("the focus stays while rows come and go", async () => {
    const box = page.getByRole("checkbox", { name: "Plot ACh" });
    await box.focus();
    await page.locator("#which").evaluate((which) => {
      which.value = "shown";
      which.dispatchEvent(new Event("change"));
    });
    await has(3, "#conditions tbody tr:not(.seed)");
    assert.ok(await box.evaluate((node) => node === document.activeElement));
    await page.locator("#which").selectOption("all");
  });

  /** Checks that no element reaches out of the page or is cut, and that axe finds nothing. */
  async function fits(width) {
    await page.setViewportSize({ width, height: 640 });
    await until("the page is as wide as the window", () => page.evaluate((width) => document.documentElement.scrollWidth === width, width));
    const wide = await page.evaluate((width) => [...document.querySelectorAll("body *")].filter((node) =>
      node.getBoundingClientRect().right > width + 0.5 && !node.closest("svg, .unseen, .scroll, thead")).map((node) => node.outerHTML.slice(0, 120)), width);
    assert.deepEqual(wide, []);
    assert.deepEqual(await violations("light"), []);
  }

  await check("nothing is wider than the window at 200 % and 400 %, nor with letters twice as large", async () => {
    // For a page, zoom means a window with fewer pixels: 1280 pixels at 200 % are 640, and at 400 % 320.
    for (const width of [640, 320]) await fits(width);
    await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
    await fits(1280);
    await fits(640);
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, "letters.png"), fullPage: true });
    await page.evaluate(() => (document.documentElement.style.fontSize = ""));
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  await check("a worker that is killed is shown", async () => {
    const [victim] = place.workers();
    process.kill(victim, "SIGKILL");
    await shows("log", `worker process ${victim} was killed by signal 9`);
    await shows("counts", "1 worker process died");
    await shows("log", "⚠ ");
    const events = await page.locator("#log li").count();
    await page.locator("#only-trouble").check();
    await until("only problems are listed", async () => (await page.locator("#log li").count()) < events);
    await shows("log", `worker process ${victim} was killed by signal 9`);
    await page.locator("#only-trouble").uncheck();
    const row = page.locator("#workers tbody tr", { hasText: `/${victim}` });
    await until("it is not working", async () => /lost|gone/.test(await row.locator("td").first().textContent()));
  });

  await check("changes of state are announced, progress is not", async () => {
    const said = [];
    await page.exposeFunction("heard", (words) => said.push(words));
    await page.evaluate(() => {
      const region = document.getElementById("announce");
      new MutationObserver(() => window.heard(region.textContent)).observe(region, { childList: true });
    });
    const before = await stored();
    await until("ten more are stored", async () => (await stored()) > before + 10);
    assert.deepEqual(said, []);
  });

  let before = 0;
  await check("a coordinator that is killed is missed", async () => {
    isDown = true;
    before = await stored();
    first.child.kill("SIGKILL");
    await first.ended;
    await shows("link", "connection lost, trying again");
    await shows("announce", "connection lost");
  });

  let second = null;
  await check("started again, it is found without a reload", async () => {
    await page.evaluate(() => (window.isSamePage = true));
    second = await place.run(slow, { port });
    await shows("link", "live");
    await shows("announce", "The coordinator was restarted.");
    isDown = false;
    assert.ok(await page.evaluate(() => window.isSamePage));
    await until("what was stored is stored", async () => (await stored()) >= before);
    await until("it is reused", async () => Number(await text("reused")) >= before);
    await until("what happened before is forgotten", async () => (await text("counts")) === "");
    await until("progress moves", async () => (await stored()) > before + 10);
  });

  await check("what was stored before is in the plots", async () => {
    const figure = page.locator("#plots figure[aria-label=Control] .of");
    await until("all are counted", async () => {
      const counted = Number((await figure.textContent()).match(/^(\d+) of 480 trials$/)?.[1]);
      return counted * 4 > before * 0.9;
    });
  });

  await check("the finished sweep says so, and the page stays", async () => {
    isDown = true;
    assert.equal(await second.ended, 0, second.said);
    await shows("state", "Complete");
    await shows("link", "the run has ended");
    await shows("stored", "1920 of 1920 (100 %)");
    for (const name of ["Control", "GABAzine", "ACh"]) {
      const of = page.locator(`#plots figure[aria-label=${name}] .of`);
      await until(`all of ${name} is counted`, async () => (await of.textContent()) === "480 of 480 trials");
    }
    await page.locator("input[name=span][value=trial]").check();
    await until("the whole trial is drawn", async () => {
      const label = await page.locator("#plots figure[aria-label=Control] svg").first().getAttribute("aria-label");
      return label.includes("0 to 2000 ms");
    });
    for (const colorScheme of ["dark", "light"]) assert.deepEqual(await violations(colorScheme), [], colorScheme);
  });

  await check("an address that is in use is refused", async () => {
    const large = join(place.path, "large.yaml");
    writeFileSync(large, many(1000, { trials: 40 }));
    const one = await place.run(large, { out: "large" });
    const other = new URL(one.url).port;
    await assert.rejects(place.run(slow, { port: other, out: "other" }), /cannot serve the dashboard at[^]*already in use/i);
    isDown = true;
    await page.goto(one.url);
    isDown = false;
  });

  await check("a thousand conditions can be found one by one", async () => {
    await shows("link", "live");
    await has(25, "#conditions tbody tr");
    await page.locator("#conditions-pager").getByRole("button", { name: "Next" }).click();
    await shows("conditions-pager", "26 to 50 of 1000");
    await page.locator("#filter").fill("tonic-1.99");
    await until("few are left", async () => (await page.locator("#conditions tbody tr").count()) < 10);
    await page.getByRole("checkbox").and(page.locator("#conditions input")).first().check();
    await has(4, "#plots figure");
    assert.deepEqual(await violations("light"), []);
  });

  await check("off loopback the token opens the page, and a new one is asked for after a restart", async () => {
    const open = { host: "0.0.0.0", workers: 1, out: "open" };
    const one = await place.run(slow, open);
    const { port, search } = new URL(one.url);
    assert.match(search, /^\?token=[0-9a-f]{32}$/);
    isDown = true;
    assert.equal((await page.goto(`http://127.0.0.1:${port}/`)).status(), 401);
    await page.goto(`http://127.0.0.1:${port}/${search}`);
    isDown = false;
    assert.equal(page.url(), `http://127.0.0.1:${port}/`, "the token is no longer in the address");
    await shows("link", "live");
    await until("progress moves", async () => (await stored()) > 0);
    assert.equal(await page.evaluate(() => document.cookie), "", "no script can read it");
    isDown = true;
    one.child.kill("SIGKILL");
    await one.ended;
    const two = await place.run(slow, { ...open, port });
    await shows("link", "with a new token");
    await page.goto(`http://127.0.0.1:${port}/${new URL(two.url).search}`);
    await shows("link", "live");
    isDown = false;
  });

  await check("the browser has nothing to complain of", () => assert.deepEqual(complaints, []));
} catch (error) {
  results.push(["the test itself", error]);
  console.log(error.stack);
} finally {
  await close();
  await place.remove();
}

const failed = results.filter(([, error]) => error !== null);
console.log(`\n${results.length - failed.length} of ${results.length} checks hold${failed.length > 0 ? "; not these:" : ""}`);
failed.forEach(([what]) => console.log(`  ${what}`));
process.exitCode = failed.length > 0 ? 1 : 0;
