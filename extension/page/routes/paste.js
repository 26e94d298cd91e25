// Route: a photo in the clipboard, pasted by the person or read by the page's script.

(() => {
  "use strict";

  /** @param {object} core page/core.js */
  __pmask.routes.paste = (core) => {
    const { pristine } = core;
    const own = Object.getOwnPropertyDescriptor;
    const uncurry = Function.prototype.bind.bind(Function.prototype.call);
    const transferOf = uncurry(own(ClipboardEvent.prototype, "clipboardData").get);
    const editable = uncurry(own(HTMLElement.prototype, "isContentEditable").get);
    const command = uncurry(Document.prototype.execCommand);
    const NativeClipboardEvent = ClipboardEvent;
    const IMAGE = /^image\//i;

    /** What the browser does with a paste that the page leaves alone: the photos go into the text that is edited. */
    const insert = (target, files) => {
      if (!(target instanceof HTMLElement) || !editable(target)) return;
      for (let i = 0; i < files.length; i += 1) {
        const reader = new FileReader(); // the page's own, should it have one: these files are for the page to read
        // insertImage, unlike insertHTML, is open to pages with Trusted Types.
        const put = () => command(document, "insertImage", false, reader.result);
        pristine.listen(reader, "load", put);
        reader.readAsDataURL(files[i]);
      }
    };

    const onPaste = (event) => {
      if (!event.isTrusted || core.isOff()) return;
      const transfer = transferOf(event);
      if (!transfer) return;
      const { files, texts } = core.readTransfer(transfer);
      if (!core.hasPhoto(files)) return;

      pristine.stop(event);
      pristine.prevent(event);
      const path = pristine.path(event);
      const target = core.innermost(path[0], pristine.activeIn);
      core.hold(files, { __proto__: null }, (answer) => {
        if (!answer) return;
        const make = () => {
          const clipboardData = core.fillTransfer(new pristine.DataTransfer(), answer, texts);
          const init = { __proto__: null, bubbles: true, cancelable: true, composed: true, clipboardData };
          const again = new NativeClipboardEvent("paste", init);
          const carried = transferOf(again);
          // Firefox takes the texts from clipboardData and leaves the files.
          if (core.listFiles(pristine.transferFiles(carried)).length === 0) core.fillTransfer(carried, answer);
          return again;
        };
        if (core.dispatchAgain(target, path, make)) insert(target, answer);
      });
    };

    /** navigator.clipboard.read(): its items hold the photo until the page asks for it. */
    const watchReading = () => {
      const items = new pristine.WeakMap(); // that were read from the clipboard -> true
      const noted = (list) => {
        for (let i = 0; i < list.length; i += 1) pristine.mapSet(items, list[i], true);
        return list;
      };
      core.wrap(Clipboard.prototype, "read", () => {}, (_self, reading) => pristine.then(reading, noted));
      const protect = (blob, resolve, reject) => {
        const file = core.fileOf(blob, "image.png", pristine.fileType(blob));
        const files = core.bareArray();
        files[0] = file;
        core.hold(files, { __proto__: null }, (answer) => {
          if (!answer) reject(new pristine.DOMException("The photo was not protected.", "NotAllowedError"));
          else if (answer[0] === file) resolve(blob);
          else resolve(new pristine.Blob([answer[0]], { __proto__: null, type: pristine.fileType(blob) }));
        });
      };
      core.wrap(ClipboardItem.prototype, "getType", () => {}, (item, getting, args) => {
        if (core.isOff() || !pristine.mapGet(items, item) || !pristine.matches(IMAGE, `${args[0]}`)) return undefined;
        return new pristine.Promise((resolve, reject) => {
          pristine.then(getting, (blob) => protect(blob, resolve, reject), reject);
        });
      });
    };
    if (globalThis.Clipboard?.prototype.read && globalThis.ClipboardItem) watchReading();

    const watch = (target) => pristine.listen(target, "paste", onPaste, { __proto__: null, capture: true });
    core.watchWindow(watch);
  };
})();
