// The interactive page of the API: Swagger UI on our own document, with the CSRF token of the session on every write.
/* global SwaggerUIBundle */
const { document: address, csrf } = document.getElementById("swagger").dataset;

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
/** Swagger UI has a dark mode of its own behind a class of <html>. */
const dress = () => root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
addEventListener("themechange", dress);
dress();

SwaggerUIBundle({
  url: address,
  dom_id: "#swagger",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  requestInterceptor(request) {
    if (csrf && !["GET", "HEAD"].includes(request.method ?? "GET")) request.headers["X-CSRF-Token"] = csrf;
    return request;
  },
});
