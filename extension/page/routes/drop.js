// Route: files dropped on the page. The page's listeners see a drop only once its photos are protected.

(() => {
  "use strict";

  /** @param {object} core page/core.js */
  __pmask.routes.drop = (core) => {
    const { pristine } = core;
    const own = Object.getOwnPropertyDescriptor;
    const transferOf = Function.prototype.call.bind(own(DragEvent.prototype, "dataTransfer").get);
    const NativeDragEvent = DragEvent;
    const later = queueMicrotask;
    const { create } = Object;
    const handlePrototype = globalThis.FileSystemFileHandle?.prototype ?? null; // absent on pages without TLS
    const PROPERTIES = [
      "clientX", "clientY", "screenX", "screenY", "ctrlKey", "shiftKey", "altKey", "metaKey", "button", "buttons", "view",
    ]; // prettier-ignore
    const given = new pristine.WeakMap(); // files that were handed to the page -> true

    /** What the browser does with a drop that the page leaves alone: an input takes the files. */
    const takeUp = (target, files) => {
      if (!core.isFileInput(target) || pristine.inputDisabled(target)) return;
      if (!pristine.inputMultiple(target)) files.length = 1;
      core.giveToInput(target, files, true);
    };

    let isOwnDrag = false; // of something that this page shows
    const endDrag = () => (isOwnDrag = false);
    const onDragStart = (event) => {
      if (!event.isTrusted) return;
      isOwnDrag = true;
      // What was dragged may be out of the document at the end, or never have moved; then the next move of the pointer,
      // which stands still during a drag, says that it is over.
      pristine.listen(pristine.path(event)[0], "dragend", endDrag, { __proto__: null, once: true });
      pristine.listen(window, "pointermove", endDrag, { __proto__: null, capture: true, passive: true, once: true });
    };

    const onDrop = (event) => {
      if (!event.isTrusted || core.isOff()) return;
      const transfer = transferOf(event);
      if (!transfer) return;
      const { files, texts, folder } = core.readTransfer(transfer);
      const wasOwn = isOwnDrag;
      endDrag();
      // Chromium adds the picture's file to its address and markup: the page has it already, and it may only be moved.
      if (wasOwn && texts.length > 0) return;
      if (!folder && !core.hasPhoto(files)) return;

      pristine.stop(event);
      pristine.prevent(event);
      const init = { __proto__: null, bubbles: true, cancelable: true, composed: true };
      for (let i = 0; i < PROPERTIES.length; i += 1) init[PROPERTIES[i]] = event[PROPERTIES[i]];
      const path = pristine.path(event);
      const target = core.innermost(path[0], (root) => pristine.pointIn(root, init.clientX, init.clientY));
      /** The page has shown where to drop; let it clear that away. */
      const leave = () => core.dispatchAgain(target, path, () => new NativeDragEvent("dragleave", init));
      if (folder) {
        core.folderHeld();
        leave();
        return;
      }
      const give = (answer) => {
        if (!answer) {
          leave();
          return;
        }
        for (let i = 0; i < answer.length; i += 1) pristine.mapSet(given, answer[i], true);
        init.dataTransfer = core.fillTransfer(new pristine.DataTransfer(), answer, texts);
        if (core.dispatchAgain(target, path, () => new NativeDragEvent("drop", init))) takeUp(target, answer);
      };
      if (core.isFileInput(target)) core.holdFor(target, files, { __proto__: null }, give);
      else core.hold(files, { __proto__: null }, give);
    };

    // Chromium gives no handle and no entry for a file that a script put there; file-selector (react-dropzone) does not
    // check. Made anew by hand, since a real handle would read the original.
    const ours = (item) => {
      const file = pristine.itemFile(item);
      return file && pristine.mapGet(given, file) ? file : null;
    };
    const handleOf = (item) => {
      const file = ours(item); // what the browser gives is a promise of nothing
      if (!file) return undefined;
      const part = (value) => ({ __proto__: null, value, enumerable: true });
      const parts = { __proto__: null, kind: part("file"), name: part(pristine.fileName(file)) };
      parts.getFile = part(() => pristine.resolve(file));
      parts.isSameEntry = part((other) => pristine.resolve(other === handle));
      const handle = create(handlePrototype, parts);
      return pristine.resolve(handle);
    };
    const entryOf = (item, native) => {
      const file = native ? null : ours(item);
      if (!file) return undefined;
      const name = pristine.fileName(file);
      const filesystem = { name: "", root: null };
      return { isFile: true, isDirectory: false, name, fullPath: `/${name}`, filesystem, file: (give) => later(() => give(file)) };
    };
    core.wrap(DataTransferItem.prototype, "getAsFileSystemHandle", () => {}, handleOf);
    core.wrap(DataTransferItem.prototype, "webkitGetAsEntry", () => {}, entryOf);

    const watch = (target, listen = pristine.listen) => {
      listen(target, "drop", onDrop, { __proto__: null, capture: true });
      listen(target, "dragstart", onDragStart, { __proto__: null, capture: true, passive: true });
    };
    core.watchWindow(watch);
  };
})();
