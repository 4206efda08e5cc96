// What every page does: "/" goes to the search, copy buttons copy, the live dot tells the truth, refusals become toasts.

/** Show how fresh the page is: `lost` makes the dot hollow, `over` grey. */
export function live(word, kind = "") {
  for (const dot of document.querySelectorAll("[data-live]")) {
    dot.hidden = false;
    dot.className = `live ${kind}`;
    if (dot.textContent !== word) dot.textContent = word;
  }
}

/** Save text as a file of that name. */
export function save(name, text, type = "text/csv") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Rows as CSV; a field with a comma, a quote or a newline is quoted. */
export function csv(rows) {
  const field = (value) => {
    const text = value == null ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
}

function toast(title, text) {
  const box = document.createElement("div");
  box.className = "toast";
  box.append(Object.assign(document.createElement("b"), { textContent: title }));
  box.append(Object.assign(document.createElement("p"), { textContent: text }));
  document.querySelector(".toasts")?.append(box);
  setTimeout(() => box.remove(), 8000);
}

addEventListener("keydown", (event) => {
  const typing = /INPUT|TEXTAREA|SELECT/.test(document.activeElement?.tagName ?? "");
  const search = document.querySelector("#q");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || !search) return;
  event.preventDefault();
  search.focus();
});

addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard?.writeText(source.textContent.trim());
  button.classList.add("done");
  button.setAttribute("title", "Copied");
  setTimeout(() => { button.classList.remove("done"); button.removeAttribute("title"); }, 1500);
});

addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-csv-table]");
  const table = button && document.getElementById(button.dataset.csvTable);
  if (!table) return;
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " ")));
  save(`${table.id}.csv`, csv(rows));
});

// A write that is refused says why; a read that fails is tried again by itself, and the live dot says so.
document.addEventListener("htmx:responseError", ({ detail }) => {
  if (detail.requestConfig.verb === "get") return;
  let problem = {};
  try { problem = JSON.parse(detail.xhr.responseText); } catch { /* not a problem document */ }
  toast(problem.title ?? `HTTP ${detail.xhr.status}`, problem.detail ?? "The service refused this.");
});
