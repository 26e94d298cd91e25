// One component for both versions of react-dropzone.
export function render(main, useDropzone, options) {
  const h = React.createElement;
  function Zone() {
    const useFsAccessApi = options.includes("picker");
    const { getRootProps, getInputProps } = useDropzone({ onDrop: (files) => files.length && send(files), useFsAccessApi });
    return h("div", { ...getRootProps(), id: "zone", className: "zone" }, h("input", getInputProps()), "Drop, or click");
  }
  ReactDOM.createRoot(main).render(h(Zone));
}
