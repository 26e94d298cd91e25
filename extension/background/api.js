// The one name under which both browsers' extension API goes here. Chromium's is `chrome`, Firefox's is `browser`.

export const api = globalThis.browser ?? globalThis.chrome;
