// What the card looks like, and the elements of which it is made.

(() => {
  "use strict";

  const { card } = globalThis.pmask;

  const FADE_MS = 400;

  const STYLE = `
    :host {
      all: initial !important;
      position: fixed !important;
      inset: auto 16px 16px auto !important;
      z-index: 2147483647 !important;
      display: flex !important;
      /* percent and not vw: under html { zoom } and beside a scroll bar these count what is not there */
      width: min(420px, calc(100% - 32px)) !important;
      max-height: calc(100% - 32px) !important;
      margin: 0 !important;
      padding: 0 !important;
      border: 0 !important;
      background: none !important;
      overflow: visible !important;
      pointer-events: none !important;
      color-scheme: light dark !important;
      direction: ltr !important;
    }
    * { box-sizing: border-box; }
    .card {
      --ink: #16202b; --quiet: #55616e; --paper: #ffffff; --line: #dde3e8; --fill: #f2f5f7;
      --accent: #0f766e; --accent-ink: #ffffff; --good: #0f766e; --warn: #a15c07; --bad: #b42318;
      display: flex; flex-direction: column; flex: 1; min-width: 0;
      font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
      color: var(--ink); background: var(--paper);
      border: 1px solid var(--line); border-radius: 14px;
      box-shadow: 0 1px 2px rgb(16 24 40 / .08), 0 12px 32px rgb(16 24 40 / .18);
      opacity: 1; transition: opacity ${FADE_MS}ms ease, transform ${FADE_MS}ms ease;
      animation: rise .25s ease;
    }
    .card { pointer-events: auto; }
    .card.aside { pointer-events: none; }
    .card.fading { opacity: 0; transform: translateY(8px); }
    @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
    @media (prefers-color-scheme: dark) {
      .card {
        --ink: #eef2f5; --quiet: #a5b1bc; --paper: #1b232c; --line: #33404c; --fill: #26313c;
        --accent: #2dd4bf; --accent-ink: #06231f; --good: #5eead4; --warn: #fbbf24; --bad: #fda29b;
        box-shadow: 0 12px 32px rgb(0 0 0 / .5);
      }
    }
    .card:focus { outline: none; }
    .card:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    header { display: flex; align-items: center; gap: 10px; padding: 12px 8px 10px 14px; }
    header .close + .close { margin-left: -8px; }
    header svg { width: 22px; height: 22px; flex: none; }
    header > div { flex: 1; min-width: 0; }
    h2 { margin: 0; font-size: 14px; font-weight: 650; overflow-wrap: anywhere; }
    header p { margin: 0; color: var(--quiet); font-size: 12.5px; }
    ul { list-style: none; margin: 0; padding: 0; overflow-y: auto; }
    li { display: flex; gap: 12px; padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    .thumb { display: block; width: 44px; height: 44px; flex: none; border-radius: 8px; background: var(--fill); object-fit: cover; }
    .body { flex: 1; min-width: 0; }
    .name { margin: 0; font-weight: 550; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
    .status { display: flex; gap: 6px; align-items: baseline; margin: 1px 0 0; color: var(--quiet); }
    .status .mark { font-weight: 700; }
    .good .status { color: var(--good); }
    .warn .status { color: var(--warn); }
    .bad .status { color: var(--bad); font-weight: 600; }
    .cure { margin: 4px 0 0; color: var(--ink); overflow-wrap: anywhere; }
    .detail { margin: 4px 0 0; color: var(--quiet); font-size: 12.5px; overflow-wrap: anywhere; }
    .detail summary { cursor: pointer; }
    .detail div { max-height: 150px; margin-top: 4px; overflow-y: auto; }
    .detail p { margin: 0 0 2px; }
    .bar { height: 5px; margin-top: 8px; border-radius: 3px; background: var(--line); overflow: hidden; }
    .bar i { display: block; height: 100%; width: 100%; border-radius: 3px; background: var(--accent);
      transform-origin: left; transform: scaleX(0); transition: transform .3s ease; }
    .bar.waiting i { transform: scaleX(.3); animation: slide 1.4s ease-in-out infinite; }
    @keyframes slide { from { translate: -30% 0; } to { translate: 110% 0; } }
    .actions { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; align-items: center; }
    .actions.quiet { gap: 2px; margin: 4px 0 -4px -8px; }
    .hint { margin: 6px 0 0; padding: 6px 9px; border-radius: 8px; background: var(--fill); font-size: 13px; }
    .faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(60px, 1fr)); gap: 8px; margin: 8px 0 0; padding: 0; border: 0; }
    .faces legend { padding: 0; margin-bottom: 6px; }
    .faces span { display: block; margin-top: 2px; color: var(--quiet); font-size: 12px; text-align: center; overflow-wrap: anywhere; }
    .faces label { position: relative; display: block; cursor: pointer; }
    .faces canvas { display: block; width: 100%; aspect-ratio: 1; border-radius: 10px; background: var(--fill); opacity: .55;
      border: 3px solid transparent; transition: opacity .15s; }
    .faces input { position: absolute; z-index: 1; inset: 6px auto auto 6px; width: 18px; height: 18px; margin: 0; accent-color: var(--accent); }
    .faces :checked + canvas { opacity: 1; border-color: var(--accent); }
    .faces :focus-visible + canvas { outline: 2px solid var(--ink); outline-offset: 1px; }
    .view { padding: 0 14px 12px; border-top: 1px solid var(--line); }
    .view figure { position: relative; margin: 12px 0 0; border-radius: 10px; overflow: hidden; background: var(--fill); cursor: pointer;
      touch-action: none; user-select: none; }
    .view canvas { display: block; width: 100%; height: auto; max-height: min(260px, 40vh); object-fit: contain; }
    .view figcaption { position: absolute; inset: 8px auto auto 8px; max-width: calc(100% - 16px); padding: 2px 9px; border-radius: 10px;
      font-size: 12px; font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; color: #fff;
      background: rgb(15 60 56 / .85); }
    .view .steps { display: flex; align-items: center; gap: 2px; color: var(--quiet); font-size: 13px; }
    button.plain.step { min-width: 32px; font-size: 17px; line-height: 1; text-decoration: none; }
    li[aria-current] { box-shadow: inset 3px 0 var(--accent); }
    .view .showing-original figcaption { background: rgb(120 53 15 / .9); }
    button { font: inherit; font-size: 13px; font-weight: 550; min-height: 32px; padding: 4px 10px; white-space: nowrap; color: var(--ink);
      background: var(--fill); border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
    button:hover { border-color: var(--quiet); }
    button:disabled { opacity: .5; cursor: default; }
    button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    button.main { color: var(--accent-ink); background: var(--accent); border-color: transparent; }
    button.plain { min-height: 28px; padding: 2px 8px; color: var(--quiet); background: none; border-color: transparent;
      font-weight: 450; text-decoration: underline; text-underline-offset: 2px; }
    button.close { width: 32px; padding: 0; font-size: 18px; line-height: 1; color: var(--quiet); background: none; border-color: transparent; }
    button.close:hover { color: var(--ink); background: var(--fill); }
    .card.small > :not(header, .notice, .live) { display: none; }
    footer { padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    footer .actions { margin: 0; }
    .notice { margin: 0; padding: 10px 14px; border-top: 1px solid var(--line); background: var(--fill); color: var(--ink);
      border-radius: 0 0 14px 14px; }
    .live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    [hidden] { display: none !important; }
    /* a small window, large type, or a frame of another origin: the card as a whole scrolls, for its list would have no room */
    @media (max-height: 480px) {
      .card { overflow-y: auto; }
      .card > * { flex: none; }
      ul { overflow: visible; }
      .view canvas { max-height: 30vh; }
    }
    @media (min-height: 221px) and (max-height: 480px) { header { position: sticky; top: 0; z-index: 2; background: var(--paper); } }
    @media (max-width: 380px) { li { gap: 9px; padding: 9px 10px 10px; } }
    @media (prefers-reduced-motion: reduce) {
      .card, .bar i, .faces canvas { animation: none; transition: none; }
      .bar.waiting i { animation: none; transform: scaleX(.5); }
    }
    @media (forced-colors: active) { .bar i { background: Highlight; } .faces :checked + canvas { border-color: Highlight; } }
  `;

  /** An element with properties; "class" and attributes by their names, children as nodes or text. */
  function h(tag, props = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  /** PMask's sign: a face in a frame whose corners are open. As icons/icon.svg. */
  function sign() {
    const make = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      return node;
    };
    const svg = make("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" });
    svg.append(
      make("rect", { width: 32, height: 32, rx: 8, fill: "#0f766e" }),
      make("path", { d: "M7 12V9.5A2.5 2.5 0 0 1 9.5 7H12M20 7h2.5A2.5 2.5 0 0 1 25 9.5V12M25 20v2.5a2.5 2.5 0 0 1-2.5 2.5H20M12 25H9.5A2.5 2.5 0 0 1 7 22.5V20", fill: "none", stroke: "#99f6e4", "stroke-width": 2, "stroke-linecap": "round" }),
      make("path", { d: "M8.5 13.5c2.5-1 5-1 7.5.6 2.5-1.6 5-1.6 7.5-.6 0 3.6-1.5 6-4 6-1.6 0-2.5-1.1-3.5-2.1-1 1-1.9 2.1-3.5 2.1-2.5 0-4-2.4-4-6Z", fill: "#fff" }),
      make("circle", { cx: 12.4, cy: 16, r: 1.4, fill: "#0f766e" }),
      make("circle", { cx: 19.6, cy: 16, r: 1.4, fill: "#0f766e" }),
    );
    return svg;
  }

  const handed = new WeakSet(); // likenesses of the person's events, see Overlay

  /** A click that the page made up is not the person's. */
  const isPersons = (event) => event.isTrusted || handed.has(event);

  function button(key, look, act) {
    return h("button", { type: "button", class: look, click: (event) => isPersons(event) && act() }, card.words(key));
  }

  globalThis.pmask.card = { ...card, FADE_MS, STYLE, h, sign, handed, isPersons, button };
})();
