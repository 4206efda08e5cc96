// The jobs page: fold and unfold seed groups, keep them as they were when rows are swapped, say when the updates are lost.
import { live } from "./page.js";

const unfolded = new Set();

function fold(group) {
  const open = unfolded.has(group.dataset.group);
  group.classList.toggle("open", open);
  group.querySelector("[data-fold]")?.setAttribute("aria-expanded", open);
}
const foldAll = () => document.querySelectorAll("[data-group]").forEach(fold);

addEventListener("click", (event) => {
  const group = event.target.closest?.("[data-fold]")?.closest("[data-group]");
  if (!group) return;
  const id = group.dataset.group;
  if (!unfolded.delete(id)) unfolded.add(id);
  fold(group);
});

// An address names only the filters that are on.
document.addEventListener("htmx:configRequest", ({ detail }) => {
  for (const name of ["project", "q"]) if (detail.parameters.get(name) === "") detail.parameters.delete(name);
});

// On a narrow screen the filters start closed.
const facets = document.querySelector(".facets");
if (facets && matchMedia("(max-width: 1180px)").matches) facets.open = false;

let lostAt = null;
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful) {
    lostAt = null;
    live("live");
  } else {
    lostAt ??= new Date();
    live(`not updated since ${lostAt.toTimeString().slice(0, 5)}`, "lost");
  }
});
document.addEventListener("htmx:afterSettle", foldAll);
live("live");
