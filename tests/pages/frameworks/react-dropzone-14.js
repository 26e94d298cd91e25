import { render } from "./dropzone-of-react.js";

export default async (main, options) => {
  await script("react/umd/react.production.min.js");
  await script("react-dom/umd/react-dom.production.min.js");
  await script("prop-types/prop-types.min.js");
  await script("react-dropzone-14/dist/index.js");
  render(main, reactDropzone.useDropzone, options);
};
