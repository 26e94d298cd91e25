// React listens at the root in both phases, and believes a change only if its value tracker saw one.
await script("react/umd/react.production.min.js");
await script("react-dom/umd/react-dom.production.min.js");

const { createElement: h, useRef, useState } = React;

function Composer() {
  const [names, setNames] = useState([]);
  const input = useRef();
  const take = (files) => {
    send(files);
    setNames(files.map(({ name }) => name));
  };
  const onChange = (event) => {
    take([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  };
  const onDrop = (event) => {
    event.preventDefault();
    take([...event.dataTransfer.files]);
  };
  const onPaste = (event) => take([...event.clipboardData.files]);
  const onDragOver = (event) => event.preventDefault();
  return h(
    "form",
    null,
    h("input", { ref: input, type: "file", multiple: true, hidden: true, onChange }),
    h("button", { id: "pick", type: "button", onClick: () => input.current.click() }, "Add photos"),
    h("div", { id: "zone", className: "zone", tabIndex: 0, onDragOver, onDrop, onPaste }, names.join()),
  );
}

export default (main) => ReactDOM.createRoot(main).render(h(React.StrictMode, null, h(Composer)));
