// Inputs in shadow roots, open and closed. A closed root's contents are out of the page's reach, so each sends by itself.

customElements.define(
  "demo-picker",
  class extends HTMLElement {
    connectedCallback() {
      const root = this.attachShadow({ mode: this.getAttribute("mode") });
      const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, ariaLabel: "Choose photos" });
      if (root.mode === "open") root.addEventListener("change", () => window.send(input.files));
      else input.setAttribute("onchange", "send(this.files)"); // no listener that a script registers
      root.append(input);
    }
  },
);

// The parser made this one's root, and wrote the listener into it.
customElements.define(
  "demo-declared",
  class extends HTMLElement {
    constructor() {
      super();
      this.attachInternals().shadowRoot.querySelector("input").ariaLabel = "Choose photos";
    }
  },
);
