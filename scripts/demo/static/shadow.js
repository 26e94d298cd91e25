// Inputs in shadow roots, open and closed. A closed root's contents are out of the page's reach, so each sends by itself.

const attach = (input) => input.addEventListener("change", () => window.send(input.files));

customElements.define(
  "demo-picker",
  class extends HTMLElement {
    connectedCallback() {
      const root = this.attachShadow({ mode: this.getAttribute("mode") });
      const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, ariaLabel: "Choose photos" });
      root.append(input);
      attach(input);
    }
  },
);

customElements.define(
  "demo-declared",
  class extends HTMLElement {
    constructor() {
      super();
      attach(this.attachInternals().shadowRoot.querySelector("input"));
    }
  },
);
