// The page of a job: its tabs, its event stream, its charts.
// Parts that the server draws name the events after which they are stale (hx-trigger in templates/parts); this file turns
// the stream into such events on <body>, moves the progress bar, and draws the charts from /jobs/ID/curves.
import { barcode, heatmap, line, wait } from "./charts.js";
import { csv, live, save } from "./page.js";

const job = document.getElementById("job");
const base = `/jobs/${job.dataset.id}`;
const percent = (values) => values?.map((v) => (v == null ? null : 100 * v));
let curves = null, results = null, failed = null;

// ---------------------------------------------------------------- tabs: the address says which
const tabs = [...document.querySelectorAll('[role="tab"]')];
const panel = (tab) => document.getElementById(tab.getAttribute("aria-controls"));
const here = () => tabs.find((tab) => tab.hash === location.hash) ?? tabs[0];

function show() {
  for (const tab of tabs) {
    const on = tab === here();
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    panel(tab).hidden = !on;
    if (on) tab.parentElement.scrollLeft = Math.max(0, tab.offsetLeft - 40);
  }
  draw();
  follow();
}
tabs.forEach((tab, i) => tab.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -i, End: tabs.length - 1 - i }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = tabs[(i + step + tabs.length) % tabs.length];
  location.replace(next.hash);
  next.focus();
}));
addEventListener("hashchange", show);

// ---------------------------------------------------------------- charts
const robust = () => `validation_${curves.metric}`;
const column = (name) => curves.values[name];

/** The best epoch and the drops of the rate; `name` is the column on whose curve the ring sits. */
function marks(name, scale = 1, colour = "accent", labels = true) {
  const found = curves.drops.filter((x) => x < curves.x.at(-1)).map((x, i) => ({ x, label: labels && !i ? "lr drops" : "", kind: "drop" }));
  const i = curves.x.indexOf(curves.best), y = column(name)?.[i];
  if (curves.best) found.push({ x: curves.best, y: y == null ? null : scale * y, label: labels ? `best ${curves.best}` : "", kind: "best", colour });
  return found;
}

function over(extra) {
  return { x: curves.x, xLabel: "epoch", xEnd: room(), sync: "epochs", ...extra };
}

/** Where the axis ends while the job runs: there is room to grow into, but half of it is used. */
function room() {
  if (job.dataset.ended === "yes") return undefined;
  let end = 8;
  while (end < curves.x.at(-1)) end *= 2;
  return Math.min(curves.epochs, end);
}

function accuracy() {
  const series = [];
  const add = (name, label, look) => column(name) && series.push({ label, values: percent(column(name)), ...look });
  add("validation_clean", "clean", { colour: "q-clean" });
  if (curves.metric && curves.metric !== "clean") add(robust(), `robust, ${curves.metric.replace("pgd", "PGD-")}`, { colour: "q-robust", width: 2.2 });
  add("train_robust", "robust on training", { colour: "q-robust", dash: [4, 3], width: 1.2 });
  add("train_clean", "clean on training", { colour: "q-clean", dash: [4, 3], width: 1.2 });
  const overfit = curves.overfit ? [curves.best, curves.x.at(-1), `overfit −${(100 * curves.overfit).toFixed(1)}`] : undefined;
  return series.length && over({ series, overfit, y: { range: around(0, 100) }, marks: marks(curves.metric ? robust() : "train_robust", 100, curves.metric === "clean" ? "q-clean" : "q-robust") });
}

/** A range with some air that stays within what is possible. */
const around = (least, most) => (low, high) => {
  const air = Math.max((high - low) * 0.08, 1);
  return [Math.max(least, low - air), Math.min(most, high + air)];
};

const one = (name, label, look, more = {}) => () => column(name) && over({ series: [{ label, values: column(name), ...look }], ...more });

const figure = (v) => String(Number(v.toPrecision(3)));

/** Decades where the rate spans some, else from zero. */
function rate() {
  const values = column("lr"), log = values?.every((v) => v > 0) && Math.max(...values) >= 50 * Math.min(...values);
  const y = log ? { log: (_, low, high) => [low / 2, high * 2], format: figure } : { range: (_, high) => [0, high * 1.1], format: figure };
  return values && over({ series: [{ label: "learning rate", values, colour: "text", digits: 5, stepped: !!curves.drops.length }], y });
}

const CURVES = {
  accuracy,
  accuracy2: accuracy,
  sparse: () => column("channel_sparsity") && over({
    series: [
      { label: "input channels", values: percent(column("channel_sparsity")), colour: "q-sparsity", width: 2, fill: true },
      { label: "weights", values: percent(column("weight_sparsity")), colour: "muted", dash: [4, 3], width: 1.2 },
    ],
    y: { range: (_, high) => [0, Math.min(100, Math.max(10, high * 1.1))] },
    marks: marks("channel_sparsity", 100, "q-sparsity", false),
  }),
  loss: one("train_loss", "training", { colour: "q-robust", width: 2, digits: 3 }),
  rate,
  speed: one("images_per_second", "images / s", { colour: "muted", digits: 0 }, { y: { range: (_, high) => [0, high * 1.1] } }),
  gap: one("gap", "‖w − u‖ / ‖w‖", { colour: "q-sparsity", width: 2, digits: 3 }, { y: { range: (_, high) => [0, high * 1.1 || 1], format: figure } }),
};
/** The protocol of each picture of broken images: no picture holds two. */
const BROKEN = { broken: "paper", "broken-strict": "strict" };
const NONE = {
  rate: "No epoch yet.",
  gap: "This method keeps no sparse copy beside its weights.",
  sparse: "No epoch yet.",
};

function draw() {
  const shown = panel(here());
  const charts = [...shown.querySelectorAll(".chart")];
  if (!curves) { charts.forEach((el) => failed && !el.chart && wait(el, failed)); return; }
  const started = curves.x.length > 0;
  const none = job.dataset.ended === "yes" ? "The job ended before its first epoch was over." : "The curve starts when the first epoch is over.";
  for (const el of charts) {
    const options = started && CURVES[el.id]?.();
    if (options) line(el, options);
    else if (el.id in CURVES) wait(el, started ? NONE[el.id] ?? "This was not measured." : none);
    else if (el.id in BROKEN) broken(el, BROKEN[el.id]);
    else if (!started) wait(el, none.replace("curve", el.id === "heat" ? "picture" : "curve"));
    else if (el.id === "heat") heat(el);
    else if (el.id === "steps") steps(el);
  }
}

/** The picture of living channels; of an ensemble one member at a time. */
let member = "0";
function heat(el) {
  const { x, layers, alive } = curves.heat, of = (name) => /^members\.(\d+)\./.exec(name)?.[1];
  const members = [...new Set(layers.map((layer) => of(layer.name)).filter(Boolean))];
  const box = document.getElementById("members");
  box.hidden = members.length < 2;
  if (box.hidden) return heatmap(el, curves.heat, curves.best, pick);
  box.replaceChildren(...members.map((name) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `member ${Number(name) + 1}`, ariaPressed: String(name === member) });
    button.addEventListener("click", () => { member = name; heat(el); });
    return button;
  }));
  const mine = [...layers.keys()].filter((i) => of(layers[i].name) === member);
  const some = mine.map((i) => ({ ...layers[i], name: layers[i].name.replace(/^members\.\d+\./, "") }));
  return heatmap(el, { x, layers: some, alive: alive.map((row) => mine.map((i) => row[i])) }, curves.best, pick);
}

/** Show an epoch in the table of layers. */
function pick(epoch) {
  const slider = document.getElementById("at-epoch");
  if (!slider) return;
  slider.value = epoch;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}

async function steps(el) {
  const name = document.getElementById("series").value;
  const { x, y } = await json(`${base}/curves?series=${encodeURIComponent(name)}`);
  if (!x.length) return wait(el, "No epoch yet.");
  line(el, { x, xLabel: "epoch", xEnd: room(), series: [{ label: name.replaceAll("_", " "), values: y, colour: "q-robust", digits: 3 }] });
}
document.getElementById("series")?.addEventListener("change", () => curves?.x.length && steps(document.getElementById("steps")));

async function broken(el, protocol) {
  results ??= json(`/api/v1/evaluations/${job.dataset.id}/outcomes`).then((answer) => answer.items);
  const found = (await results).filter((one) => one.protocol === protocol);
  el.closest(".panel").hidden = protocol === "strict" && !found.length;
  if (!found.length) return wait(el, "Images stand here when the first attack is done.");
  const n = Math.min(...found.map((one) => one.survived.length));
  const wrong = found.map((one) => [...one.survived.slice(0, n)].map((c) => c === "0"));
  const times = Array.from({ length: n }, (_, i) => wrong.reduce((sum, row) => sum + row[i], 0));
  const order = [...times.keys()].sort((a, b) => times[b] - times[a] || rank(wrong, a) - rank(wrong, b));
  const rows = found.map((one, k) => ({ name: one.label, broken: order.map((i) => wrong[k][i]) }));
  barcode(el, rows);
  const part = found.some((one) => one.survived.length > n) ? ` Only the first ${n.toLocaleString("en")} test images: the fewest that an attack saw.` : "";
  const noise = protocol === "paper" ? " On a network with noise a single draw breaks some images by chance." : " On a network with noise: wrong in more than half of the draws.";
  document.querySelector(`[data-caption="${el.id}"]`).textContent = `Ink: wrong. Each column is one of ${n.toLocaleString("en")} test images; the percentage is of these.${part}${noise}`;
}
/** Of images that fell equally often: those first that an earlier attack broke. */
const rank = (wrong, i) => wrong.findIndex((row) => row[i]);

addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-csv]");
  const chart = button && document.getElementById(button.dataset.csv)?.chart;
  if (chart) save(`${button.dataset.csv}.csv`, csv(chart.rows()));
});

// ---------------------------------------------------------------- data
async function json(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json();
}

let busy = false, again = false;
/** Fetch the curves and draw them; calls that come meanwhile are answered by one more. */
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    curves = await json(`${base}/curves`);
    failed = null;
    const select = document.getElementById("series");
    const known = new Set([...select?.options ?? []].map((option) => option.value));
    curves.series.filter((name) => !known.has(name)).forEach((name) => select?.add(new Option(name)));
    draw();
  } catch (error) {
    failed = `The curves did not load (${error.message}); they are tried again with the next event.`;
    draw();
  }
  busy = false;
  if (again) { again = false; refresh(); }
}

// ---------------------------------------------------------------- the event stream
const KINDS = ["state_changed", "phase_started", "phase_ended", "epoch_ended", "checkpoint_saved", "selected", "dissected", "compacted", "witnessed", "scored", "checked", "audited", "exported", "noticed", "finished"];
const ENDED = ["succeeded", "failed", "cancelled"];
let stream = null, seq = Number(job.dataset.seq), lostAt = null, retry = 0;

function connect() {
  stream?.close();
  stream = new EventSource(`/api/v1/jobs/${job.dataset.id}/events?after=${seq}`);
  stream.addEventListener("open", () => {
    if (lostAt) { refresh(); document.body.dispatchEvent(new CustomEvent("refresh")); }
    lostAt = null;
    live("live");
  });
  stream.addEventListener("error", lost);
  stream.addEventListener("progress", ({ data }) => move(JSON.parse(data)));
  for (const kind of KINDS) stream.addEventListener(kind, (event) => heard(kind, event));
}

function heard(kind, event) {
  seq = Number(event.lastEventId) || seq;
  const { body } = JSON.parse(event.data);
  if (kind === "state_changed" && ENDED.includes(body.state)) end();
  if (["epoch_ended", "selected", "state_changed"].includes(kind)) refresh();
  if (kind === "scored") { results = null; draw(); }
  stale(kind);
  stale("any_event");
}

const due = new Set();
/** Tell the parts that wait for this event; of many in a short time they hear once, after the last. */
function stale(name) {
  if (due.has(name)) return;
  due.add(name);
  setTimeout(() => { due.delete(name); document.body.dispatchEvent(new CustomEvent(name)); }, 300);
}

/** The browser tries again by itself, unless the service refused: then we do. */
function lost() {
  if (job.dataset.ended === "yes") return;
  lostAt ??= new Date();
  live(`lost since ${lostAt.toTimeString().slice(0, 5)}, trying again`, "lost");
  clearTimeout(retry);
  if (stream.readyState === EventSource.CLOSED) retry = setTimeout(connect, 5000);
}

function end() {
  job.dataset.ended = "yes";
  stream?.close();
  live("ended", "over");
}

/** Between two events: the bar of the running phase, its words, the time left. */
function move({ phase, done, total, text, eta }) {
  const cell = document.querySelector(`[data-phase="${phase}"]`);
  const bar = cell?.querySelector("progress");
  if (!bar) return;
  bar.value = total ? done / total : 0;
  cell.querySelector(".d").textContent = text;
  cell.querySelector(".d").title = text;
  const left = document.querySelector("[data-eta]");
  if (!left) return;
  left.hidden = eta == null;
  if (eta != null) left.querySelector("b").textContent = span(eta);
}

function span(seconds) {
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
setInterval(() => {
  const since = document.querySelector("[data-since]");
  if (since) since.textContent = span(Date.now() / 1000 - Number(since.dataset.since));
}, 1000);

// ---------------------------------------------------------------- the log keeps to its end, unless the reader has scrolled up
let stopped = null;
addEventListener("scroll", ({ target }) => {
  if (!target.matches?.("pre.log")) return;
  const below = target.scrollHeight - target.scrollTop - target.clientHeight;
  stopped = below > 30 ? target.scrollTop : null;
}, true);
function follow() {
  const log = document.querySelector("pre.log");
  log.scrollTop = stopped ?? log.scrollHeight;
}
document.addEventListener("htmx:afterSettle", follow);

// A browser keeps few connections to one address: a page that nobody sees gives its own back, and catches up later.
document.addEventListener("visibilitychange", () => {
  if (job.dataset.ended === "yes") return;
  if (document.hidden) stream?.close();
  else connect();
});

show();
refresh();
if (job.dataset.ended === "yes") live("ended", "over");
else connect();
