// Shared code of the browser tests: a coordinator in a directory of its own, a browser with an empty profile, and
// waiting with a timeout.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = resolve(fileURLToPath(import.meta.url), "../../..");

const program = process.env.GRANULE ?? join(root, "target/release/granule");
const browser = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** The timeout of waits, in milliseconds. */
const PATIENCE = 120_000;

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `look` returns a true value, and returns it. */
export async function until(what, look, patience = PATIENCE) {
  const begun = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() - begun > patience) throw new Error(`waited in vain until ${what}`);
    await pause(50);
  }
}

/** A temporary directory, removed at the end. */
export class Place {
  constructor() {
    this.path = mkdtempSync(join(tmpdir(), "granule-browser-"));
    this.running = [];
  }

  /** Starts a coordinator with its dashboard at this port, and waits until the dashboard is ready. */
  async run(sweep, { host = "127.0.0.1", port = 0, workers = 2, out = "out", more = [] } = {}) {
    const address = `${host}:${port}`;
    const given = ["run", sweep, "--out", out, "--workers", String(workers), "--dashboard", address, ...more];
    const child = spawn(program, given, { cwd: this.path, stdio: ["ignore", "pipe", "pipe"] });
    const granule = { child, said: "", url: "", code: null, ended: null };
    granule.ended = new Promise((done) => child.on("close", (code) => ((granule.code = code), done(code))));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (granule.said += text));
    }
    this.running.push(granule);
    granule.url = await until("the dashboard is there", () => {
      if (child.exitCode !== null) throw new Error(`granule has ended:\n${granule.said}`);
      return granule.said.match(/^dashboard: (http:\S+)/m)?.[1];
    });
    return granule;
  }

  /** Worker processes in this directory. */
  workers() {
    return readdirSync("/proc").filter((id) => {
      try {
        const isHere = readlinkSync(`/proc/${id}/cwd`) === this.path;
        return isHere && readFileSync(`/proc/${id}/cmdline`, "utf8").split("\0").includes("worker");
      } catch {
        // The process is no worker, or has ended.
        return false;
      }
    }).map(Number);
  }

  async remove() {
    for (const { child, ended } of this.running) {
      if (child.exitCode === null) child.kill("SIGKILL");
      await ended;
    }
    await until("no worker is left", () => this.workers().length === 0);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Starts a browser with an empty profile and without background connections. */
export async function launch() {
  if (!existsSync(browser)) throw new Error(`there is no ${browser}: apt-get install chromium, or set CHROMIUM`);
  const profile = mkdtempSync(join(tmpdir(), "granule-profile-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser,
    headless: true,
    chromiumSandbox: false,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  return {
    context,
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** A sweep of many small conditions. */
export function many(conditions, { trials = 2, granule = 64, seeds = [451] } = {}) {
  return `name: many
network: { mossy_fibers: 40, granule_cells: ${granule}, golgi_cells: 5 }
seeds: [${seeds.join(", ")}]
trials: ${trials}
record: { conductances: false }
conditions:
  - name: tonic-{granule.tonic_factor}
    grid: { granule.tonic_factor: { linspace: [0, 2, ${conditions}] } }
`;
}
