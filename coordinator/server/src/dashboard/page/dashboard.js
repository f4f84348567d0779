// The dashboard: receives events of a coordinator and shows them. It sends nothing.
"use strict";

const MOST_CHOSEN = 12;
const ROWS = 25;
const MOST_SEEDS = 200;
const MOST_NOTICES = 300;

/** Colours of conditions, in their order (Okabe and Ito). */
const COLOURS = ["var(--ink)", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

const WORKER_STATES = {
  working: "working", idle: "idle", draining: "draining", lost: "lost", gone: "gone", quarantined: "quarantined",
};

/** State that was received. */
const run = {
  epoch: null, subject: null, head: null, pairs: [], stored: [], workers: new Map(), notices: [], spikes: new Map(),
};

/** State of the view. */
const view = { chosen: [], unfolded: new Set(), conditionsFrom: 0, workersFrom: 0 };

const $ = (id) => document.getElementById(id);

function element(name, properties = {}, children = []) {
  const made = document.createElement(name);
  const { label, role, scope, ...rest } = properties;
  Object.assign(made, rest);
  if (label) made.setAttribute("aria-label", label);
  if (role) made.setAttribute("role", role);
  if (scope) made.setAttribute("scope", scope);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function brief(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/** Formats a number with three digits; from 100 on, as a whole number. */
function digits(value) {
  if (value === 0) return "0";
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

// ---- receiving -----------------------------------------------------------------------------------------

let source = null;
let retry = null;
let lastHeard = 0;
let failures = 0;

function listen() {
  clearTimeout(retry);
  source?.close();
  const heard = new EventSource(`/events?watch=${view.chosen.join(",")}`);
  source = heard;
  const on = (name, take) => heard.addEventListener(name, (event) => {
    if (heard !== source) return;
    lastHeard = performance.now();
    take(JSON.parse(event.data));
    draw();
  });
  on("snapshot", takeSnapshot);
  on("changes", takeChanges);
  on("spikes", (spikes) => run.spikes.set(spikes.condition, spikes));
  heard.addEventListener("error", () => heard === source && lost());
  lastHeard = performance.now();
}

/** Handles a connection that has ended or could not be opened. */
function lost() {
  source?.close();
  source = null;
  const end = run.head?.end;
  if (end) {
    link("the run has ended", "wait");
  } else {
    link("connection lost, trying again", "lost");
  }
  failures += 1;
  const patience = end?.is_complete ? 15000 : Math.min(1000 * failures, 5000);
  clearTimeout(retry);
  retry = setTimeout(knock, patience);
}

/** Checks whether the coordinator answers again, and admits this page. */
async function knock() {
  try {
    const answer = await fetch("/icon.svg", { cache: "no-store" });
    if (answer.ok) return listen();
    if (answer.status === 401) {
      return link("the coordinator restarted with a new token: open the URL that it printed", "lost");
    }
  } catch {
    // The coordinator does not answer yet.
  }
  lost();
}

function takeSnapshot({ epoch, subject, run: now }) {
  const isAnother = run.epoch !== null && run.epoch !== epoch;
  const isFirst = run.epoch === null;
  failures = 0;
  link("live", "live");
  if (isAnother) {
    const names = view.chosen.map((at) => run.subject.conditions[at]?.name);
    view.chosen = names.map((name) => subject.conditions.findIndex((other) => other.name === name));
    view.chosen = view.chosen.filter((at) => at >= 0);
    view.unfolded.clear();
    view.conditionsFrom = 0;
    view.workersFrom = 0;
    run.spikes.clear();
    announce("The coordinator was restarted.");
  }
  Object.assign(run, { epoch, subject, head: now.head, pairs: now.pairs });
  run.workers = new Map(now.workers.map((worker) => [worker.id, worker]));
  run.notices = now.notices;
  const seeds = subject.seeds.length;
  run.stored = subject.conditions.map((_, at) => {
    let sum = 0;
    for (let seed = 0; seed < seeds; seed += 1) sum += now.pairs[at * seeds + seed] ?? 0;
    return sum;
  });
  if (view.chosen.length === 0 && (isFirst || isAnother)) {
    view.chosen = subject.conditions.slice(0, 3).map((_, at) => at);
    listen();
  } else if (isAnother) {
    listen();
  }
}

function takeChanges({ head, pairs, workers, notices }) {
  run.head = head;
  const seeds = run.subject.seeds.length;
  for (const [at, count] of pairs) {
    run.stored[Math.floor(at / seeds)] += count - run.pairs[at];
    run.pairs[at] = count;
  }
  for (const worker of workers) run.workers.set(worker.id, worker);
  run.notices = run.notices.concat(notices).slice(-MOST_NOTICES);
}

function link(text, kind) {
  const pill = $("link");
  if (pill.textContent === text) return;
  pill.textContent = text;
  pill.dataset.kind = kind;
  announce(text === "live" ? "Connected." : `${text}.`);
}

/** Announces important changes to screen readers. */
function announce(text) {
  $("announce").textContent = text;
}

// ---- drawing -------------------------------------------------------------------------------------------

let isDrawing = false;

/** Draws with the next frame, once for all changes until then. */
function draw() {
  if (isDrawing || run.subject === null) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    drawOverview();
    drawPlots();
    drawConditions();
    drawWorkers();
    drawLog();
  });
}

/** Returns the phase of the run: a word, its meaning, and whether it is good or bad. */
function phase() {
  const { state, spans, files, end, trials } = run.head;
  if (end?.is_complete) return ["Complete", "All trials are computed and all files are written.", "good"];
  if (end) return ["Ended", "The run ended before the sweep was complete.", "bad"];
  switch (state) {
    case "computing":
      if (spans.done < spans.total && trials.stored === trials.reused) {
        return ["Preparing", `counting the random numbers of earlier trials: ${spans.done} of ${spans.total} parts`, ""];
      }
      return run.workers.size === 0 ? ["Waiting", "for workers", ""] : ["Computing", "", ""];
    case "draining": return ["Ending", "Workers finish their leases; their results are stored.", ""];
    case "done": return ["Computed", "All trials are computed.", ""];
    case "writing": return ["Writing", `${files.done} of ${plural(files.total, "file")}`, ""];
    case "ended": return ["Ending", "The run is ending before all trials are computed.", "bad"];
    default: return ["Starting", "", ""];
  }
}

let shownPhase = "";

function drawOverview() {
  const { subject, head } = run;
  const { trials, counts, end } = head;
  const [word, text, kind] = phase();
  const percent = trials.total === 0 ? 0 : Math.floor((100 * trials.stored) / trials.total);
  setText($("sweep"), subject.sweep);
  document.title = `${end ? word : `${percent} %`} · ${subject.sweep} · granule`;
  setText($("state"), word);
  $("state").dataset.kind = kind;
  setText($("state-text"), text);
  if (shownPhase !== word) {
    if (shownPhase !== "") announce(`${word}. ${text}`);
    shownPhase = word;
  }
  $("end-text").hidden = !end;
  setText($("end-text"), end?.text ?? "");
  $("overall").max = Math.max(trials.total, 1);
  $("overall").value = trials.stored;
  setText($("stored"), `${trials.stored} of ${trials.total} (${percent} %)`);
  setText($("rate"), digits(head.trials_per_second));
  setText($("left"), end || head.seconds_left === null ? "–" : brief(head.seconds_left));
  setText($("elapsed"), brief(head.elapsed_seconds));
  setText($("reused"), String(trials.reused));
  const here = [...run.workers.values()].filter(isHere).length;
  setText($("crowd"), end ? String(run.workers.size) : `${here}${run.workers.size > here ? `, ${run.workers.size - here} gone` : ""}`);
  setText($("engine"), subject.engine);
  setText($("version"), `granule ${subject.granule}`);
  const wrong = [
    [counts.trials_set_aside, "trial", "set aside"],
    [counts.disagreements, "result", "differed from the stored ones"],
    [counts.discarded_trials, "trial", "removed from the store"],
    [counts.quarantined_workers, "worker", "quarantined"],
    [counts.worker_deaths, "worker process", "died"],
  ].filter(([count]) => count > 0);
  const lines = wrong.map(([count, what, how]) => `⚠ ${plural(count, what).replace("processs", "processes")} ${how}`);
  const list = $("counts");
  if (list.dataset.shown !== lines.join("\n")) {
    list.dataset.shown = lines.join("\n");
    list.replaceChildren(...lines.map((line) => element("li", { textContent: line })));
  }
}

/** Puts rows into a table. Rows that stay keep the focus. */
function place(body, rows) {
  const before = [...body.children];
  if (before.length === rows.length && before.every((row, at) => row === rows[at])) return;
  const focused = document.activeElement;
  body.replaceChildren(...rows);
  if (focused !== document.activeElement && document.contains(focused)) focused.focus();
}

/** Draws the buttons below a table of which only a part is shown. */
function drawPager(nav, from, count, turn) {
  if (count <= ROWS) return nav.replaceChildren();
  if (!nav.firstChild) {
    const button = (textContent, step) =>
      element("button", { type: "button", textContent, onclick: () => (turn(step * ROWS), draw()) });
    nav.append(button("Previous", -1), element("span"), button("Next", 1));
  }
  const [previous, where, next] = nav.children;
  previous.disabled = from === 0;
  next.disabled = from + ROWS >= count;
  setText(where, `${from + 1} to ${Math.min(from + ROWS, count)} of ${count}`);
}

const conditionRows = new Map();

function drawConditions() {
  const { subject, stored, pairs } = run;
  const seeds = subject.seeds.length;
  const each = run.head.trials_each;
  const total = seeds * each;
  const wanted = $("filter").value.trim().toLowerCase();
  const which = $("which").value;
  const isShown = (at) => {
    if (wanted !== "" && !subject.conditions[at].name.toLowerCase().includes(wanted)) return false;
    if (which === "open") return stored[at] < total;
    if (which === "done") return stored[at] >= total;
    return which === "all" || view.chosen.includes(at);
  };
  const found = [...subject.conditions.keys()].filter(isShown);
  if (view.conditionsFrom >= found.length) view.conditionsFrom = 0;
  const rows = [];
  for (const at of found.slice(view.conditionsFrom, view.conditionsFrom + ROWS)) {
    const row = rowOf(at, null);
    const isUnfolded = view.unfolded.has(at);
    row.fold?.setAttribute("aria-expanded", String(isUnfolded));
    row.choice.checked = view.chosen.includes(at);
    row.choice.disabled = !row.choice.checked && view.chosen.length >= MOST_CHOSEN;
    fill(row, stored[at], total);
    rows.push(row.node);
    if (!isUnfolded) continue;
    for (let seed = 0; seed < Math.min(seeds, MOST_SEEDS); seed += 1) {
      const row = rowOf(at, seed);
      fill(row, pairs[at * seeds + seed] ?? 0, each);
      rows.push(row.node);
    }
    if (seeds > MOST_SEEDS) rows.push(rowOfRest(seeds - MOST_SEEDS));
  }
  if (rows.length === 0) rows.push(element("tr", {}, [element("td", { colSpan: 4, textContent: "None." })]));
  place($("conditions").tBodies[0], rows);
  drawPager($("conditions-pager"), view.conditionsFrom, found.length, (step) => {
    view.conditionsFrom = Math.max(0, view.conditionsFrom + step);
  });
}

function fill({ bar, count }, stored, total) {
  bar.max = Math.max(total, 1);
  bar.value = stored;
  setText(count, `${stored} / ${total}`);
}

/** Returns the row of a condition, or of one of its seeds. */
function rowOf(at, seed) {
  const { name } = run.subject.conditions[at];
  const key = `${run.epoch} ${at} ${seed}`;
  const known = conditionRows.get(key);
  if (known) return known;
  if (conditionRows.size > 2000) conditionRows.clear();
  const title = seed === null ? name : `seed ${run.subject.seeds[seed]}`;
  const bar = element("progress", { label: seed === null ? `Trials of ${name}` : `Trials of ${name}, ${title}` });
  const count = element("td", { className: "number" });
  const head = element("th", { scope: "row" });
  const row = { node: null, bar, count, fold: null, choice: null };
  const first = element("td");
  if (seed === null) {
    row.choice = element("input", { type: "checkbox", label: `Plot ${name}` });
    row.choice.addEventListener("change", () => choose(at, row.choice.checked));
    first.append(row.choice);
  }
  if (seed === null && run.subject.seeds.length > 1) {
    row.fold = element("button", { type: "button", className: "fold", textContent: title });
    row.fold.addEventListener("click", () => {
      if (!view.unfolded.delete(at)) view.unfolded.add(at);
      draw();
    });
    head.append(row.fold);
  } else {
    head.append(title);
  }
  row.node = element("tr", { className: seed === null ? "" : "seed" }, [first, head, element("td", {}, [bar]), count]);
  conditionRows.set(key, row);
  return row;
}

function rowOfRest(count) {
  return element("tr", { className: "seed" }, [
    element("td"), element("th", { scope: "row", colSpan: 3, textContent: `and ${plural(count, "seed")} more` }),
  ]);
}

/** Adds a condition to the plots, or removes it. */
function choose(at, isWanted) {
  view.chosen = view.chosen.filter((other) => other !== at);
  if (isWanted && view.chosen.length < MOST_CHOSEN) view.chosen.push(at);
  view.chosen.sort((a, b) => a - b);
  for (const known of run.spikes.keys()) {
    // Without updates, these spikes would become stale. After the end, they no longer change.
    if (!run.head.end && !view.chosen.includes(known)) run.spikes.delete(known);
  }
  if (source) listen();
  draw();
}

const isHere = (worker) => worker.state !== "gone" && worker.state !== "quarantined";
const workerRows = new Map();

function drawWorkers() {
  const all = [...run.workers.values()];
  all.sort((a, b) => isHere(b) - isHere(a) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  if (view.workersFrom >= all.length) view.workersFrom = 0;
  const rows = all.slice(view.workersFrom, view.workersFrom + ROWS).map((worker) => {
    if (!workerRows.has(worker.id)) workerRows.set(worker.id, workerRow());
    const row = workerRows.get(worker.id);
    const [name, state, address, threads, leases, trials, silent] = row.children;
    setText(name, worker.name);
    const isOver = run.head.end && isHere(worker);
    setText(state, isOver ? "ended" : WORKER_STATES[worker.state] ?? worker.state);
    state.className = worker.state === "lost" || worker.state === "quarantined" || worker.state === "gone" ? "bad" : "";
    setText(address, worker.address);
    setText(threads, String(worker.threads));
    setText(leases, String(worker.leases));
    setText(trials, String(worker.trials));
    setText(silent, isHere(worker) && worker.silent_seconds > 0 ? `${brief(worker.silent_seconds)} ago` : "–");
    return row;
  });
  if (rows.length === 0) {
    const nobody = element("td", { role: "cell", colSpan: 7, textContent: "None yet." });
    rows.push(element("tr", { role: "row" }, [nobody]));
  }
  place($("workers").tBodies[0], rows);
  drawPager($("workers-pager"), view.workersFrom, all.length, (step) => {
    view.workersFrom = Math.max(0, view.workersFrom + step);
  });
}

/** Returns a row of the table of workers, with labels for when it is shown as a card. */
function workerRow() {
  const cells = ["State", "Address", "Threads", "Leases", "Trials", "Last message"].map((label, at) => {
    const cell = element("td", { role: "cell", className: at >= 2 ? "number" : "" });
    cell.dataset.label = label;
    return cell;
  });
  return element("tr", { role: "row" }, [element("th", { role: "rowheader", scope: "row" }), ...cells]);
}

let shownLog = "";

function drawLog() {
  const notices = $("only-trouble").checked ? run.notices.filter((notice) => notice.is_trouble) : run.notices;
  const shown = `${run.epoch} ${notices.length} ${notices.at(-1)?.seq} ${notices[0]?.seq}`;
  if (shown === shownLog) return;
  shownLog = shown;
  const line = (notice) => {
    const at = new Date(notice.time);
    const time = element("time", { dateTime: notice.time, textContent: at.toLocaleTimeString("en-GB") });
    const text = `${notice.is_trouble ? "⚠ " : ""}${notice.text}`;
    return element("li", {}, [time, element("span", { className: notice.is_trouble ? "bad" : "", textContent: text })]);
  };
  $("log").replaceChildren(...notices.toReversed().map(line));
  $("log-box").hidden = notices.length === 0;
  $("log-empty").hidden = notices.length > 0;
}

// ---- spikes over time ----------------------------------------------------------------------------------

const figures = new Map();
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function colorOf(at) {
  return COLOURS[at % COLOURS.length];
}

/** Returns mean rates of a cell in Hz by population, or null if no trial was counted. */
function ratesOf(at) {
  const spikes = run.spikes.get(at);
  if (!spikes || spikes.trials === 0) return null;
  const condition = run.subject.conditions[at];
  const width = (bin) => Math.min(condition.bin_ms, condition.duration_ms - bin * condition.bin_ms);
  return run.subject.populations.map((_, p) =>
    spikes.counts[p].map((count, bin) => (1000 * count) / (spikes.trials * condition.sizes[p] * width(bin))));
}

/** Returns the time window that is shown, in whole bins. */
function windowOf({ stimulus_ms, duration_ms, bin_ms }) {
  const isWhole = document.querySelector("input[name=span]:checked").value === "trial" || stimulus_ms.length === 0;
  if (isWhole) return [0, duration_ms];
  const from = Math.max(0, Math.min(...stimulus_ms) - 60);
  const to = Math.min(duration_ms, Math.max(...stimulus_ms) + 170);
  return to > from ? [Math.floor(from / bin_ms) * bin_ms, Math.min(Math.ceil(to / bin_ms) * bin_ms, duration_ms)] : [0, duration_ms];
}

/** Returns the next round number that is not smaller. */
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

function drawPlots() {
  const plots = view.chosen.map((at) => {
    const condition = run.subject.conditions[at];
    const rates = ratesOf(at);
    const [from, to] = windowOf(condition);
    const isIn = (_, bin) => bin * condition.bin_ms >= from && bin * condition.bin_ms < to;
    const most = (rates ?? run.subject.populations.map(() => [])).map((rate) => rate.filter(isIn).reduce((a, b) => Math.max(a, b), 0));
    return { at, condition, rates, from, to, most };
  });
  if ($("same-scale").checked) {
    const most = run.subject.populations.map((_, p) => Math.max(...plots.map((plot) => plot.most[p])));
    plots.forEach((plot) => (plot.most = most));
  }
  for (const key of figures.keys()) {
    if (!view.chosen.some((at) => key === `${run.epoch} ${at}`)) figures.delete(key);
  }
  place($("plots"), plots.map((plot) => figureOf(plot)));
  setText($("spikes-hint"), plots.length === 0
    ? "No condition is selected: select some in the table below."
    : `Mean rate of a cell, over all cells of its population and the trials stored so far. Select up to ${MOST_CHOSEN} conditions in the table below.`);
}

function figureOf(plot) {
  const { at, condition, rates } = plot;
  const key = `${run.epoch} ${at}`;
  if (!figures.has(key)) figures.set(key, newFigure(at, condition.name));
  const figure = figures.get(key);
  const spikes = run.spikes.get(at);
  const total = run.subject.seeds.length * run.head.trials_each;
  setText(figure.of, spikes ? `${spikes.trials} of ${plural(total, "trial")}` : "");
  const isCounting = run.stored[at] > 0;
  const without = run.head.end && !source ? "Its spikes were not counted before the run ended."
    : isCounting ? "Counting the stored spikes." : "No trials yet.";
  setText(figure.note, rates ? "" : without);
  figure.note.hidden = rates !== null;
  figure.details.hidden = rates === null;
  const width = Math.max(220, figure.node.clientWidth || 360);
  const { from, to, most } = plot;
  const drawn = [figure.panels[0].isConnected, spikes?.trials, from, to, ...most, width].join(" ");
  if (figure.drawn === drawn) return figure.node;
  figure.drawn = drawn;
  run.subject.populations.forEach((population, p) => {
    figure.panels[p].toggleAttribute("hidden", rates === null);
    if (rates) drawPanel(figure.panels[p], plot, population, rates[p], most[p], width);
  });
  if (rates && figure.details.open) drawTable(figure, plot);
  figure.redrawTable = () => drawTable(figure, plot);
  return figure.node;
}

function newFigure(at, name) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.color = colorOf(at);
  const of = element("span", { className: "of" });
  const remove = element("button", { type: "button", textContent: "remove", label: `Remove the plot of ${name}` });
  remove.addEventListener("click", () => {
    choose(at, false);
    $("h-spikes").focus();
  });
  const panels = run.subject.populations.map(() => svg("svg", { role: "img" }));
  panels.forEach((panel) => (panel.style.color = colorOf(at)));
  const note = element("p", { className: "hint" });
  const body = element("tbody");
  const heads = ["Time (ms)", ...run.subject.populations.map(({ label }) => `${label} (Hz)`)];
  const head = element("tr", {}, heads.map((textContent) => element("th", { scope: "col", className: "number", textContent })));
  const table = element("table", {}, [
    element("caption", { className: "unseen", textContent: `Mean rates of ${name}` }), element("thead", {}, [head]), body,
  ]);
  const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region", label: `Table of ${name}` }, [table]);
  const details = element("details", {}, [element("summary", { textContent: "as a table" }), scroll]);
  details.firstChild.setAttribute("aria-label", `${name} as a table`);
  const node = element("figure", { label: name }, [
    element("figcaption", {}, [swatch, element("span", { textContent: name }), of, remove]), note, ...panels, details,
  ]);
  const figure = { node, of, note, panels, details, body, drawn: "", redrawTable: () => {} };
  details.addEventListener("toggle", () => details.open && figure.redrawTable());
  return figure;
}

function drawPanel(panel, { condition, from, to }, population, rate, most, width) {
  const height = 134;
  const [left, right, top, bottom] = [46, 18, 26, 32];
  const highest = roundUp(most);
  const x = (ms) => left + ((ms - from) / (to - from)) * (width - left - right);
  const y = (hz) => height - bottom - (hz / highest) * (height - top - bottom);
  const { bin_ms, duration_ms } = condition;
  let path = `M${x(from).toFixed(1)} ${y(0)}`;
  let sum = 0;
  let peak = [0, from];
  let bins = 0;
  for (let bin = Math.round(from / bin_ms); bin * bin_ms < to && bin < rate.length; bin += 1) {
    const [begin, end] = [bin * bin_ms, Math.min((bin + 1) * bin_ms, duration_ms)];
    path += `V${y(rate[bin]).toFixed(1)}H${x(end).toFixed(1)}`;
    if (rate[bin] > peak[0]) peak = [rate[bin], begin];
    sum += rate[bin] * (end - begin);
    bins += 1;
  }
  path += `V${y(0)}Z`;
  const mean = bins === 0 ? 0 : sum / (to - from);
  const middle = (left + width - right) / 2;
  const parts = [
    svg("text", { x: left, y: 11 }, `${population.label}, Hz`),
    svg("line", { class: "grid", x1: left, x2: width - right, y1: y(highest), y2: y(highest) }),
    svg("line", { class: "grid", x1: left, x2: width - right, y1: y(highest / 2), y2: y(highest / 2) }),
    ...[0, highest / 2, highest].map((hz) =>
      svg("text", { x: left - 6, y: y(hz) + 4, "text-anchor": "end" }, digits(hz))),
    svg("path", { class: "rate", d: path }),
    svg("path", { class: "axis", d: `M${left} ${top}V${y(0)}H${width - right}` }),
    ...ticks(from, to).map((ms) =>
      svg("text", { x: x(ms), y: height - 17, "text-anchor": "middle" }, String(ms))),
    ...ticks(from, to).map((ms) => svg("path", { class: "axis", d: `M${x(ms)} ${y(0)}v4` })),
    ...condition.stimulus_ms.filter((ms) => ms >= from && ms < to).map((ms) =>
      svg("path", { class: "stimulus", d: `M${x(ms)} ${top - 1}l-3.5 -6h7z` })),
    svg("text", { x: middle, y: height - 3, "text-anchor": "middle" }, "time (ms)"),
  ];
  panel.setAttribute("viewBox", `0 0 ${width} ${height}`);
  panel.setAttribute("aria-label", `${condition.name}, ${population.label}, ${from} to ${to} ms: mean ${digits(mean)} Hz` +
    `, highest ${digits(peak[0])} Hz at ${peak[1]} ms`);
  panel.replaceChildren(...parts);
}

/** Returns about five round times. */
function ticks(from, to) {
  const step = roundUp((to - from) / 5);
  const first = Math.ceil(from / step) * step;
  const found = [];
  for (let ms = first; ms <= to; ms += step) found.push(ms);
  return found;
}

function drawTable({ body }, { condition, rates, from, to }) {
  if (!rates) return;
  const rows = [];
  for (let bin = Math.round(from / condition.bin_ms); bin * condition.bin_ms < to; bin += 1) {
    const cells = [String(bin * condition.bin_ms), ...rates.map((rate) => digits(rate[bin]))];
    rows.push(element("tr", {}, cells.map((textContent) => element("td", { className: "number", textContent }))));
  }
  body.replaceChildren(...rows);
}

// ---- start ---------------------------------------------------------------------------------------------

$("filter").addEventListener("input", () => ((view.conditionsFrom = 0), draw()));
$("which").addEventListener("change", () => ((view.conditionsFrom = 0), draw()));
$("only-trouble").addEventListener("change", draw);
$("same-scale").addEventListener("change", draw);
document.querySelectorAll("input[name=span]").forEach((input) => input.addEventListener("change", draw));
window.addEventListener("resize", draw);
setInterval(() => {
  // After a sleep of the machine, or on a network that drops everything, the connection does not close.
  if (source && performance.now() - lastHeard > 15000) lost();
}, 5000);
listen();
