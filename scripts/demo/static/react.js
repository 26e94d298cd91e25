// What matters of React for a file input, written by hand: listeners at the root only, in both phases, and a tracker on
// the input's own `value` property, without whose change an event is taken for a repeat.

const root = document.getElementById("root");
const trackers = new WeakMap();

function track(node) {
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
  trackers.set(node, get.call(node));
  Object.defineProperty(node, "value", {
    configurable: true,
    get() {
      return get.call(this);
    },
    set(value) {
      trackers.set(node, `${value}`);
      set.call(this, value);
    },
  });
}

function changed(node) {
  const before = trackers.get(node);
  trackers.set(node, node.value);
  return before !== node.value;
}

/** The "component": sends what was chosen, then empties the input so that the same file can be chosen again. */
function onChange(event) {
  window.send([...event.target.files]);
  event.target.value = "";
}

for (const type of ["input", "change"]) {
  for (const capture of [true, false]) {
    root.addEventListener(
      type,
      (event) => {
        if (!capture && event.type === "change" && trackers.has(event.target) && changed(event.target)) onChange(event);
      },
      { capture },
    );
  }
}

const input = document.createElement("input");
input.type = "file";
input.multiple = true;
input.id = "photo";
const label = document.createElement("label");
label.className = "drop";
label.append("Choose photos", input);
root.append(label);
track(input);
