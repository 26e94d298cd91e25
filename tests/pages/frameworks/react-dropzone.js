import { render } from "./dropzone-of-react.js";

export default async (main, options) => {
  const { useDropzone } = await import("react-dropzone");
  await script("react-dom/umd/react-dom.production.min.js");
  render(main, useDropzone, options);
};
