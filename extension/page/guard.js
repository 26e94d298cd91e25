// Last of the MAIN-world files: takes the core out of the page's sight and starts the routes, all before the page runs.

(() => {
  "use strict";
  const core = globalThis.__pmask;
  delete globalThis.__pmask;
  let stands = true;
  for (const name in core.routes) {
    try {
      core.routes[name](core);
    } catch (error) {
      stands = false;
      console.error("PMask: a route did not start; no photo passes", name, error);
    }
  }
  core.keepWatching();
  core.watchReached();
  core.lookNative();
  core.connect(stands);
})();
