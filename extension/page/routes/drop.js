// Route: files dropped on the page. The page's listeners see a drop only once its photos are protected.

(() => {
  "use strict";

  /** @param {object} core page/core.js @param {AbortSignal} signal */
  __pmask.routes.drop = (core, signal) => {
    const { pristine } = core;
    const own = Object.getOwnPropertyDescriptor;
    const transferOf = Function.prototype.call.bind(own(DragEvent.prototype, "dataTransfer").get);
    const NativeDragEvent = DragEvent;
    const PROPERTIES = [
      "clientX", "clientY", "screenX", "screenY", "ctrlKey", "shiftKey", "altKey", "metaKey", "button", "buttons", "view",
    ]; // prettier-ignore
    const given = new pristine.WeakMap(); // files that were handed to the page -> true

    const onDrop = (event) => {
      if (!event.isTrusted || core.isOff()) return;
      const transfer = transferOf(event);
      if (!transfer) return;
      const { files, texts, folder } = core.readTransfer(transfer);
      if (folder) {
        pristine.stop(event);
        pristine.prevent(event);
        core.folderHeld();
        return;
      }
      if (!core.hasPhoto(files)) return;

      pristine.stop(event);
      const target = pristine.path(event)[0];
      // A file input takes the files by itself, and they come by the input's route.
      if (target.localName === "input" && target.type === "file") return;
      pristine.prevent(event);

      const init = { __proto__: null, bubbles: true, cancelable: true, composed: true };
      for (let i = 0; i < PROPERTIES.length; i += 1) init[PROPERTIES[i]] = event[PROPERTIES[i]];
      core.hold(files, { __proto__: null }, (answer) => {
        if (!answer) {
          // The page has shown where to drop; let it clear that away.
          pristine.dispatch(target, new NativeDragEvent("dragleave", init));
          return;
        }
        for (let i = 0; i < answer.length; i += 1) pristine.mapSet(given, answer[i], true);
        init.dataTransfer = core.fillTransfer(new pristine.DataTransfer(), answer, texts);
        pristine.dispatch(target, new NativeDragEvent("drop", init));
      });
    };

    // Chromium gives no handle for a file that a script put there, and file-selector (react-dropzone) does not check.
    const resolve = Promise.resolve.bind(Promise);
    core.wrap(DataTransferItem.prototype, "getAsFileSystemHandle", () => {}, signal, (item) => {
      const file = pristine.itemFile(item);
      if (!file || !pristine.mapGet(given, file)) return undefined;
      return resolve({ kind: "file", name: pristine.fileName(file), getFile: () => resolve(file) });
    });

    const watch = (target) => pristine.listen(target, "drop", onDrop, { __proto__: null, capture: true, signal });
    for (const name of ["open", "write", "writeln"]) core.wrap(Document.prototype, name, () => {}, signal, () => watch(window));
    watch(window);
  };
})();
