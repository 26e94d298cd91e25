// Last of the MAIN-world files: takes the core out of the page's sight and starts the routes, all before the page runs.

(() => {
  "use strict";
  const core = globalThis.__pmask;
  delete globalThis.__pmask;
  const { signal } = new AbortController();
  core.connect(signal);
  const started = [];
  for (const name in core.routes) {
    try {
      core.routes[name](core, signal);
      started.push(name);
    } catch (error) {
      console.error("PMask: a route did not start and is blocked", name, error);
    }
  }
  core.keepWatching(signal);
  core.lookNative(signal);
  core.ready(started);
})();
