// Classic script in <head>: sets the theme before the first paint, so that nothing flashes.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const changed = () => dispatchEvent(new Event("themechange"));

  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* a private window: the system decides */ }
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-toggle-theme]")) return;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts for this page */ }
    changed();
  });
  system.addEventListener("change", changed);
})();
