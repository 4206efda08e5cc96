// One look for every chart. uPlot draws curves over epochs, ECharts the picture of living channels, a canvas the bar code.
// Colours are read from tokens.css whenever a chart is drawn, so that a change of theme redraws it.
/* global uPlot, echarts */

const probe = document.body.appendChild(Object.assign(document.createElement("i"), { hidden: true }));
export const token = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
const faded = (rgb, share) => rgb.replace(/rgba?\(([^)]+)\)/, (_, inner) => `rgba(${inner.split(",").slice(0, 3)},${share})`);
const font = (pixels = 11) => `${pixels}px ${getComputedStyle(document.body).fontFamily}`;
export const shown = (value, digits = 1) => (value == null || Number.isNaN(value) ? "–" : value.toFixed(digits));

const charts = new Set();
addEventListener("themechange", () => charts.forEach((chart) => chart.draw()));
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => target.chart?.resize()));

function keep(el, chart) {
  el.chart = chart;
  charts.add(chart);
  sizes.observe(el);
  return chart;
}

/** Say in the chart's place why there is none. */
export function wait(el, text) {
  if (el.chart) { charts.delete(el.chart); el.chart.end?.(); delete el.chart; }
  el.replaceChildren(Object.assign(document.createElement("p"), { className: "wait", textContent: text }));
  document.querySelector(`[data-legend="${el.id}"]`)?.replaceChildren();
}

// ---------------------------------------------------------------- curves
/**
 * Draw curves, or bring those drawn before up to date.
 * options: x, series [{label, values, colour (token), dash, width, fill, digits, stepped}], y {range, log, format},
 *          xLabel, xEnd (where the axis ends, before the curve does), sync, marks [{x, y, label, kind: best | drop, colour}],
 *          overfit [from, to, label]
 */
export function line(el, options) {
  const before = el.chart;
  const same = before?.options && before.options.series.map((s) => s.label).join() === options.series.map((s) => s.label).join();
  if (same) return before.update(options);
  if (before) wait(el, "");
  const chart = keep(el, { options, draw, update, resize, end: () => chart.plot?.destroy(), rows });
  draw();
  return chart;

  function draw() {
    chart.plot?.destroy();
    el.replaceChildren();
    chart.plot = new uPlot(settings(el, () => chart.options), columns(chart.options), el);
    legend(el.id, chart.options);
  }
  function update(next) {
    chart.options = next;
    chart.plot.setData(columns(next));
    legend(el.id, next);
  }
  function resize() {
    if (chart.plot && Math.abs(chart.plot.width - el.clientWidth) > 1) chart.plot.setSize({ width: el.clientWidth, height: el.clientHeight });
  }
  function rows() {
    const { x, xLabel, series } = chart.options;
    return [[xLabel, ...series.map((s) => s.label)], ...x.map((at, i) => [at, ...series.map((s) => s.values[i])])];
  }
}

const columns = ({ x, series }) => [x, ...series.map((s) => s.values)];

function settings(el, now) {
  const options = now();
  const axis = { stroke: token("faint"), font: font(), ticks: { show: false }, grid: { stroke: token("line"), width: 1 }, gap: 6 };
  const padded = (_, low, high) => { const more = (high - low) * 0.08 || Math.abs(high) * 0.08 || 1; return [low - more, high + more]; };
  const yScale = options.y?.log ? { distr: 3, range: options.y.log } : { range: options.y?.range ? (_, low, high) => options.y.range(low, high) : padded };
  return {
    width: el.clientWidth,
    height: el.clientHeight,
    padding: [10, 16, 0, 4],
    legend: { show: false },
    cursor: {
      sync: options.sync ? { key: options.sync, setSeries: false } : undefined,
      points: { size: 7, width: 2, fill: () => token("surface") },
      drag: { x: true, y: false },
    },
    scales: { x: { time: false, range: (u, low, high) => (u.data[0].length > 1 ? [low, Math.max(high, zoomed(u, low, high) ? high : now().xEnd ?? high)] : [now().x[0], now().xEnd ?? now().x[0] + 1]) }, y: yScale },
    axes: [
      { ...axis, size: 26, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
      { ...axis, size: 46, space: 34, ...(options.y?.log ? { splits: (u) => decades(u.scales.y), filter: (_, ticks) => ticks } : {}), values: (_, ticks) => ticks.map((v) => (v == null ? "" : options.y?.format ? options.y.format(v) : String(v))) },
    ],
    series: [{}, ...options.series.map((s) => ({
      label: s.label,
      stroke: token(s.colour),
      width: s.width ?? 1.6,
      dash: s.dash,
      fill: s.fill ? faded(token(s.colour), 0.12) : undefined,
      paths: s.stepped ? uPlot.paths.stepped({ align: -1 }) : undefined,
      points: { show: (u) => u.data[0].length <= 24, size: 5, stroke: token(s.colour), fill: token(s.colour) },
    }))],
    hooks: { drawAxes: [(u) => overlay(u, now())], setCursor: [(u) => legend(el.id, now(), u.cursor.idx)] },
  };
}

/** Whether the reader has drawn a range, rather than seeing all. */
const zoomed = (u, low, high) => low > u.data[0][0] || high < u.data[0].at(-1);

const decades = ({ min, max }) => {
  const from = Math.ceil(Math.log10(min) - 1e-9), to = Math.floor(Math.log10(max) + 1e-9);
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => 10 ** (from + i));
};

/** Behind the curves: the amber ground of robust overfit, drops of the rate, the best epoch with its ring. */
function overlay(u, options) {
  const c = u.ctx, d = devicePixelRatio, { top, height, left, width } = u.bbox;
  const place = (x) => Math.round(u.valToPos(x, "x", true)) + 0.5;
  c.save();
  c.font = font(11 * d);
  c.textBaseline = "top";
  if (options.overfit) {
    const [from, to, label] = options.overfit;
    c.fillStyle = faded(token("warn"), 0.1);
    c.fillRect(place(from), top, place(to) - place(from), height);
    c.fillStyle = token("warn");
    c.textAlign = "right";
    c.fillText(label ?? "", place(to) - 6 * d, top + height - 17 * d);
  }
  for (const mark of options.marks ?? []) {
    const x = place(mark.x), best = mark.kind === "best", right = x > left + width * 0.7;
    c.beginPath();
    c.strokeStyle = token(best ? "text" : "line-2");
    c.lineWidth = d;
    c.setLineDash(best ? [] : [2 * d, 3 * d]);
    c.moveTo(x, top);
    c.lineTo(x, top + height);
    c.stroke();
    c.setLineDash([]);
    c.textAlign = right ? "right" : "left";
    c.fillStyle = token(best ? "text" : "faint");
    if (mark.label) c.fillText(mark.label, x + (right ? -6 : 6) * d, top + (best ? 3 * d : height - 15 * d));
    if (best && mark.y != null) ring(c, x, u.valToPos(mark.y, "y", true), mark.colour, d);
  }
  c.restore();
}

function ring(c, x, y, colour, d) {
  c.beginPath();
  c.arc(x, y, 4 * d, 0, 7);
  c.fillStyle = token("surface");
  c.fill();
  c.strokeStyle = token(colour ?? "accent");
  c.lineWidth = 2 * d;
  c.stroke();
}

/** The legend: each curve's value under the cursor, or its last. */
function legend(id, options, index) {
  const box = document.querySelector(`[data-legend="${id}"]`);
  if (!box) return;
  const i = index ?? options.x.length - 1;
  const at = options.x[i];
  const parts = [word(options.xLabel, Number.isInteger(at) ? at : shown(at, 2))];
  for (const s of options.series) parts.push(word(s.label, shown(s.values[i], s.digits ?? 1), s));
  box.replaceChildren(...parts);
}

function word(text, value, series) {
  const span = document.createElement("span");
  if (series) {
    const ns = "http://www.w3.org/2000/svg", key = document.createElementNS(ns, "svg"), stroke = document.createElementNS(ns, "path");
    key.setAttribute("class", `key k-${series.colour}${series.dash ? " dashed" : ""}`);
    key.setAttribute("viewBox", "0 0 14 10");
    stroke.setAttribute("d", "M0 5h14");
    key.append(stroke);
    span.append(key);
  }
  span.append(text, " ", Object.assign(document.createElement("b"), { textContent: value }));
  return span;
}

// ---------------------------------------------------------------- living channels
let loading;
const library = () => (loading ??= new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = "/static/vendor/echarts-6.1.0.min.js";
  script.addEventListener("load", resolve);
  script.addEventListener("error", reject);
  document.head.append(script);
}));

/** Layer by epoch: ink is what survives. heat: {x, layers [{name, total}], alive [epoch][layer]}; `pick(epoch)` on a click. */
export async function heatmap(el, heat, best, pick) {
  await library();
  el.style.height = `${Math.max(160, 90 + heat.layers.length * (heat.layers.length > 30 ? 11 : 15))}px`;
  if (el.chart?.data) { el.chart.data = { heat, best }; el.chart.resize(); return el.chart.draw(); }
  el.replaceChildren();
  const view = echarts.init(el, null, { renderer: "canvas" });
  const chart = keep(el, { data: { heat, best }, draw: () => view.setOption(heatOption(chart.data), true), resize: () => view.resize(), end: () => view.dispose(), rows });
  view.on("click", ({ value }) => value && pick(chart.data.heat.x[value[0]]));
  chart.draw();
  return chart;

  function rows() {
    const { x, layers, alive } = chart.data.heat;
    return [["epoch", ...layers.map((l) => `${l.name} of ${l.total}`)], ...x.map((epoch, i) => [epoch, ...alive[i]])];
  }
}

function heatOption({ heat: { x, layers, alive }, best }) {
  const ink = token("faint"), text = token("text");
  const cells = alive.flatMap((row, i) => row.map((n, j) => [i, j, n / layers[j].total]));
  const small = layers.length > 30 ? 9 : 11, pen = document.createElement("canvas").getContext("2d");
  pen.font = font(small);
  const names = (position, data, color) => ({
    type: "category", inverse: true, position, data, axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false },
    axisLabel: { color, fontSize: small, interval: 0 },
  });
  const widest = Math.max(...layers.map((l) => pen.measureText(l.name).width));
  const column = best ? x.indexOf(best) : -1;
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 28 + widest, right: 70, top: 24, bottom: 62 },
    tooltip: { trigger: "item", confine: true, className: "tipbox tip", borderWidth: 0, padding: 0, backgroundColor: "transparent", transitionDuration: 0, formatter: tip },
    xAxis: { type: "category", data: x, name: "epoch", nameLocation: "middle", nameGap: 24, nameTextStyle: { color: token("muted"), fontSize: 12 }, axisLine: { lineStyle: { color: token("line-2") } }, axisTick: { show: false }, axisLabel: { color: ink, fontSize: 11, interval: Math.ceil(x.length / 10) - 1 } },
    yAxis: [names("left", layers.map((l) => l.name), token("muted")), names("right", layers.map((l, j) => `${alive.at(-1)[j]} / ${l.total}`), text)],
    visualMap: { min: 0, max: 1, calculable: false, orient: "horizontal", right: 70, bottom: 0, itemWidth: 10, itemHeight: 120, text: ["all alive", "none"], textStyle: { color: token("muted"), fontSize: 11 }, inRange: { color: [0, 1, 2, 3, 4].map((i) => token(`seq-${i}`)) } },
    series: [{
      type: "heatmap", data: cells, progressive: 0, itemStyle: { borderWidth: 0 }, emphasis: { itemStyle: { borderColor: text, borderWidth: 1 } },
      markLine: column < 0 ? undefined : { silent: true, symbol: "none", lineStyle: { color: text, type: "solid", width: 1 }, label: { formatter: `best ${best}`, color: text, fontSize: 11, position: "start", distance: 4 }, data: [{ xAxis: column }] },
    }],
  };
  function tip({ value }) {
    if (!value?.length) return "";
    const box = document.createElement("div");
    const layer = layers[value[1]];
    box.append(Object.assign(document.createElement("b"), { textContent: layer.name }));
    box.append(`epoch ${x[value[0]]}: ${alive[value[0]][value[1]]} of ${layer.total} alive`);
    return box;
  }
}

// ---------------------------------------------------------------- which attack broke which image
/** Where the list is true, as ranges [from, to). */
function runs(list) {
  const found = [];
  list.forEach((yes, i) => {
    if (!yes) return;
    if (found.at(-1)?.[1] === i) found.at(-1)[1] = i + 1;
    else found.push([i, i + 1]);
  });
  return found;
}

/** rows: {name, broken: boolean[]}, a line each; images sorted from always wrong to never broken. */
export function barcode(el, rows) {
  el.style.height = `${54 + 34 * rows.length}px`;
  if (el.chart?.paint) { el.chart.data = rows; return el.chart.draw(); }
  const canvas = document.createElement("canvas");
  el.replaceChildren(canvas);
  const chart = keep(el, { data: rows, paint, draw: () => paint(), resize: () => paint(), rows: table });
  paint();
  return chart;

  function paint() {
    const d = devicePixelRatio, w = el.clientWidth, h = el.clientHeight, lines = chart.data, n = lines[0].broken.length;
    canvas.width = w * d;
    canvas.height = h * d;
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    const c = canvas.getContext("2d");
    c.scale(d, d);
    c.font = font();
    c.textBaseline = "middle";
    const left = Math.min(130, 24 + Math.max(...lines.map((l) => c.measureText(l.name).width))), right = 66, wide = w - left - right, each = (h - 48) / lines.length, bar = Math.min(26, each - 6);
    lines.forEach(({ name, broken }, row) => {
      const y = 16 + row * each, middle = y + bar / 2;
      c.fillStyle = token("sunken");
      c.fillRect(left, y, wide, bar);
      c.fillStyle = token(name === "clean" ? "q-clean" : "q-robust");
      for (const [from, to] of runs(broken)) c.fillRect(left + (from / n) * wide, y, Math.max(0.5, ((to - from) / n) * wide), bar);
      c.textAlign = "right";
      c.fillStyle = token("muted");
      c.fillText(name, left - 10, middle);
      c.textAlign = "left";
      c.fillStyle = token("text");
      c.fillText(`${shown((100 * broken.filter(Boolean).length) / n)} %`, w - right + 8, middle);
    });
    c.fillStyle = token("faint");
    c.fillText("always wrong", left, h - 12);
    c.textAlign = "right";
    c.fillText("never broken", w - right, h - 12);
  }
  function table() {
    return [["place", ...chart.data.map((l) => l.name)], ...chart.data[0].broken.map((_, i) => [i, ...chart.data.map((l) => Number(l.broken[i]))])];
  }
}
