// What the daemon answers wherever a browser looks for news of a service worker. PMask has none: it is another program's, which
// had the daemon's port and would stand before this page for good. This one takes its place, and goes.

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(leave()));

async function leave() {
  const tabs = await clients.matchAll({ type: "window" });
  await registration.unregister();
  await fetch("/", { cache: "reload" }); // a cache may hold that program's page as well
  for (const tab of tabs) tab.navigate("/"); // what they show is that program's
}
