// The new job's page: the form, the YAML and the plan are three views of one document, which the service reads and checks after
// each pause in writing. Changes of the form wait here until an answer has them in its YAML.
import { Fields, element } from "./fields.js";

const $ = (id) => document.getElementById(id);
const PAUSE = 300;
const form = $("job"), yaml = $("yaml"), button = form.querySelector("button"), box = $("fields");
const changes = new Map();
let timer = 0, asking = null, stale = true;

const fields = new Fields(box, await (await fetch("/api/v1/schema")).json(), (made, complete) => {
  for (const { pointer, value } of made) {
    for (const other of changes.keys()) if (other === pointer || other.startsWith(`${pointer}/`)) changes.delete(other);
    changes.set(pointer, value);
  }
  soon(complete ? 0 : PAUSE);
});

function soon(pause) {
  stale = true;
  clearTimeout(timer);
  timer = setTimeout(check, pause);
}

/** Ask what the document is; an answer to an older question is dropped. */
async function check() {
  clearTimeout(timer);
  asking?.abort();
  const mine = asking = new AbortController();
  const body = JSON.stringify({ yaml: yaml.value, changes: [...changes].map(([pointer, value]) => ({ pointer, value })) });
  const headers = { "content-type": "application/json", "x-csrf-token": form.elements.csrf.value };
  stale = false;
  try {
    const answer = await fetch("/new/check", { method: "POST", body, headers, signal: mine.signal });
    const found = await answer.json();
    if (stale || mine !== asking) return;
    if (answer.ok) return show(found);
    changes.clear();
    unchecked(answer.status === 401 ? "The session has ended: log in again in another tab." : found.detail);
  } catch (error) {
    if (error.name !== "AbortError") unchecked("The service does not answer.");
  }
}

function unchecked(detail) {
  verdict("not checked", true);
  list([{ pointer: "", message: detail }]);
}

/** A document that is no object has no values for the form: what was changed there waits until it is one. */
function show(found) {
  const readable = found.document !== null;
  if (readable && changes.size) yaml.value = found.yaml;
  if (readable) changes.clear();
  for (const part of box.children) part.disabled = !readable;
  if (readable) fields.show(found.document);
  list(fields.mark(found.problems));
  const wrong = found.problems.length;
  verdict(wrong ? `${wrong} ${wrong > 1 ? "problems" : "problem"}` : "valid", wrong > 0);
  if (button) button.disabled = wrong > 0;
  plan(found.plan);
}

function verdict(text, bad) {
  $("verdict").textContent = text;
  $("verdict").classList.toggle("wrong", bad);
  yaml.setAttribute("aria-invalid", bad);
}

function list(problems) {
  $("problems").replaceChildren(...problems.map(({ pointer, message, got, expected }) => {
    const entry = $("problem").content.cloneNode(true), text = entry.querySelector("div div");
    text.append(element("code", { textContent: pointer || "the document" }), ` ${message}`);
    if (got != null) text.append(element("br"), `Given: ${got}`);
    if (expected) text.append(element("br"), expected.startsWith("did") ? `D${expected.slice(1)}` : `Right: ${expected}`);
    return entry;
  }));
}

const rounded = (number) => number.toLocaleString("en", { maximumSignificantDigits: 3 });

function scaled(number, units) {
  const step = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(number || 1) / 3)));
  return `${rounded(number / 1000 ** step)} ${units[step]}`.trim();
}

function plan(found) {
  const seeds = found?.seeds ?? [], many = seeds.length > 1;
  const values = found && {
    jobs: seeds.length,
    seeds: many ? `${seeds[0]} to ${seeds.at(-1)}` : seeds[0],
    parameters: scaled(found.parameters, ["", "k", "M", "G"]),
    macs: scaled(found.macs, ["", "k", "M", "G", "T"]),
    petaflop: rounded(found.petaflop),
    memory: scaled(found.memory_bytes, ["B", "kB", "MB", "GB", "TB"]),
  };
  for (const cell of document.querySelectorAll("[data-plan]")) cell.textContent = values?.[cell.dataset.plan] ?? "–";
  if (button) button.textContent = many ? `Submit ${seeds.length} jobs` : "Submit";
}

yaml.addEventListener("input", () => soon(PAUSE));
// What was typed last must be in the YAML that is sent.
form.addEventListener("submit", async (event) => {
  if (!stale && !changes.size) return;
  event.preventDefault();
  await check();
  if (!stale && !changes.size && !button?.disabled) form.requestSubmit();
});
box.hidden = $("plan").hidden = false;
await check();
