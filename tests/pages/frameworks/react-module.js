// React's own build of version 18 as a module, for packages that import it.
await script("react/umd/react.production.min.js");

export default React;
export const { createContext, forwardRef, Fragment, useCallback, useEffect, useImperativeHandle, useMemo, useReducer, useRef, useState } =
  React;
export const jsx = (type, { children, ...properties }, key) => React.createElement(type, { ...properties, key }, children);
export const jsxs = (type, { children, ...properties }, key) => React.createElement(type, { ...properties, key }, ...children);
