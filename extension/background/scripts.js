// Content scripts on the person's own hosts: the very entries of the manifest, under other matches.

import { api } from "./api.js";

/** The registrations for these hosts. @param {object} manifest @param {string[]} hosts */
export function registrations(manifest, hosts) {
  return hosts.flatMap((host) =>
    manifest.content_scripts
      .filter((entry) => entry.match_origin_as_fallback)
      .map((entry) => ({
        id: `${entry.world ?? "ISOLATED"}:${host}`,
        matches: [`https://${host}/*`],
        js: entry.js,
        world: entry.world ?? "ISOLATED",
        runAt: entry.run_at,
        allFrames: entry.all_frames,
        matchOriginAsFallback: true,
        persistAcrossSessions: true,
      })),
  );
}

/** Makes the registered scripts those of `hosts`. An update of the extension drops them, so this runs at its start too. */
export async function syncScripts(hosts) {
  const wanted = registrations(api.runtime.getManifest(), hosts);
  const present = (await api.scripting.getRegisteredContentScripts()).map(({ id }) => id);
  const stale = present.filter((id) => !wanted.some((script) => script.id === id));
  if (stale.length > 0) await api.scripting.unregisterContentScripts({ ids: stale });
  const missing = wanted.filter(({ id }) => !present.includes(id));
  if (missing.length > 0) await api.scripting.registerContentScripts(missing);
}
