// Last of the MAIN-world files: takes the core out of the page's sight and starts the routes, all before the page runs.

(() => {
  "use strict";
  const core = globalThis.__pmask;
  delete globalThis.__pmask;
  const { signal } = new AbortController();
  core.connect(signal);
  for (const name in core.routes) core.routes[name](core, signal);
})();
