// Which pages PMask looks after: those of sites.json, and hosts that the person added.

/** @typedef {{id: string, name: string, matches: string[], own?: boolean}} Site */

/** Does a match pattern, as the manifest has it, cover this address? */
export function covers(pattern, url) {
  const [, scheme, host, path] = /^(https?):\/\/([^/]+)(\/.*)$/.exec(pattern);
  if (url.protocol !== `${scheme}:`) return false;
  const suffix = host.startsWith("*.") ? host.slice(2) : null;
  const hostFits = suffix ? url.hostname === suffix || url.hostname.endsWith(`.${suffix}`) : url.hostname === host;
  return hostFits && (path.endsWith("*") ? url.pathname.startsWith(path.slice(0, -1)) : url.pathname === path);
}

/** A host that the person added, as a site. */
export function ownSite(host) {
  return { id: host, name: host, matches: [`https://${host}/*`], own: true };
}

/**
 * The host in what a person typed or pasted ("mastodon.social", "https://Mastodon.social/@me"), or null.
 *
 * @param {string} typed @returns {string | null}
 */
export function hostIn(typed) {
  const bare = typed.trim().replace(/^[a-z]+:\/\//i, "");
  if (!bare || /[\s*@\\]/.test(bare.split("/")[0])) return null;
  try {
    const { hostname } = new URL(`https://${bare}`);
    return hostname.includes(".") && !/^[\d.]+$/.test(hostname) ? hostname : null;
  } catch {
    return null;
  }
}

/** The site that one of these addresses belongs to; the first that is known counts. Frames have no address of their own. */
export function siteOf(sites, ...addresses) {
  for (const address of addresses) {
    if (!address || !URL.canParse(address)) continue;
    const url = new URL(address);
    const site = sites.find(({ matches }) => matches.some((pattern) => covers(pattern, url)));
    if (site) return site;
  }
  return null;
}

/** Is PMask to take this site's photos? A page where our scripts run but whose site is not known is guarded. */
export function isOn({ enabled, sitesOff }, site) {
  return enabled && !(site && sitesOff.includes(site.id));
}
