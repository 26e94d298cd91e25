// Route: a photo pasted from the clipboard.

(() => {
  "use strict";

  /** @param {object} core page/core.js @param {AbortSignal} signal */
  __pmask.routes.paste = (core, signal) => {
    const { pristine } = core;
    const own = Object.getOwnPropertyDescriptor;
    const transferOf = Function.prototype.call.bind(own(ClipboardEvent.prototype, "clipboardData").get);
    const NativeClipboardEvent = ClipboardEvent;

    const onPaste = (event) => {
      if (!event.isTrusted || core.isOff()) return;
      const transfer = transferOf(event);
      if (!transfer) return;
      const { files, texts } = core.readTransfer(transfer);
      if (!core.hasPhoto(files)) return;

      pristine.stop(event);
      pristine.prevent(event);
      const target = pristine.path(event)[0];
      core.hold(files, { __proto__: null }, (answer) => {
        if (!answer) return;
        const clipboardData = core.fillTransfer(new pristine.DataTransfer(), answer, texts);
        const init = { __proto__: null, bubbles: true, cancelable: true, composed: true, clipboardData };
        const again = new NativeClipboardEvent("paste", init);
        const carried = transferOf(again);
        // Firefox takes the texts from clipboardData and leaves the files.
        if (core.listFiles(pristine.transferFiles(carried)).length === 0) core.fillTransfer(carried, answer);
        pristine.dispatch(target, again);
      });
    };

    const watch = (target) => pristine.listen(target, "paste", onPaste, { __proto__: null, capture: true, signal });
    for (const name of ["open", "write", "writeln"]) core.wrap(Document.prototype, name, () => {}, signal, () => watch(window));
    watch(window);
  };
})();
