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
    const TEXT = /^text\//i;

    // The caret is read and set by the page's own functions, should it have any: no photo passes there.
    // Chromium's document knows nothing of the caret in a shadow root.
    const selectionIn = (root) => root.getSelection?.() ?? getSelection();
    const rangeIn = (root) => {
      const selection = selectionIn(root);
      return selection?.rangeCount > 0 ? selection.getRangeAt(0).cloneRange() : null;
    };

    /** Where somebody writes in a document or shadow root; `start` and `end` are numbers in a field of plain text. */
    const placeIn = (root) => {
      const { activeElement: field } = root;
      const { value, selectionStart: start, selectionEnd: end } = field ?? {};
      return { __proto__: null, root, field, range: rangeIn(root), value, start, end };
    };

    const placeNow = () => placeIn(pristine.root(core.innermost(document.activeElement ?? document, pristine.activeIn)));

    const isAt = ({ root, field, range, value, start, end }) => {
      if (root.activeElement !== field) return false;
      if (typeof start === "number") return field.value === value && field.selectionStart === start && field.selectionEnd === end;
      const now = rangeIn(root);
      return !now || !range || now.compareBoundaryPoints(0, range) === 0; // 0: by their starts
    };

    /** Selects in a field of plain text what was selected, as far as it still stands: somebody has written on. */
    const selectAgain = ({ field, value, start, end }) => {
      const now = field.value;
      const behind = now.length - value.length + end;
      if (now.startsWith(value.slice(0, end))) field.setSelectionRange(start, end);
      else if (now.startsWith(value.slice(0, start))) field.setSelectionRange(start, start);
      else if (now.endsWith(value.slice(end))) field.setSelectionRange(behind, behind);
    };

    const goTo = (place) => {
      const { root, field, range } = place;
      if (root.activeElement !== field) field.focus({ preventScroll: true });
      if (typeof place.start === "number") selectAgain(place);
      else if (range && editable(field)) {
        selectionIn(root).removeAllRanges();
        selectionIn(root).addRange(range);
      }
    };

    /** Has something written where the person pasted; who has gone elsewhere since finds the caret there again. */
    const writeAt = (place, write) => {
      if (isAt(place)) {
        write();
        return;
      }
      const elsewhere = placeNow();
      goTo(place);
      write();
      place.range = rangeIn(place.root); // what comes next comes behind it
      goTo(elsewhere);
    };

    /** The text is what a browser prefers where a picture is only its likeness, as with cells of a table. */
    const plainText = (texts) => {
      for (let i = 0; i < texts.length; i += 1) {
        const { type, text } = texts[i];
        if (type === "text/plain") return core.holdsPicture(text) ? "" : text;
      }
      return "";
    };

    /** What the browser does with a paste that the page leaves alone: it goes into the text that is edited. */
    const insert = (place, files, texts) => {
      const { field } = place;
      const isField = field instanceof HTMLElement && (editable(field) || "selectionStart" in field);
      if (!isField) return;
      if (!pristine.connected(field)) {
        core.fieldGone();
        return;
      }
      const text = plainText(texts);
      if (text) {
        // Without its formatting: markup from elsewhere, which the browser cleans, would bring its scripts.
        writeAt(place, () => command(document, "insertText", false, text));
        return;
      }
      if (!editable(field)) return;
      for (let i = 0; i < files.length; i += 1) {
        const reader = new FileReader(); // the page's own, should it have one: these files are for the page to read
        // insertImage, unlike insertHTML, is open to pages with Trusted Types.
        const put = () => writeAt(place, () => command(document, "insertImage", false, reader.result) || core.fieldGone());
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
      const place = placeIn(pristine.root(target));
      core.hold(files, { __proto__: null }, (settled) => {
        // Who says no to the picture of some cells still wants their text.
        if (!settled && !plainText(texts)) return;
        const answer = settled ?? core.bareArray();
        const make = () => {
          const clipboardData = core.fillTransfer(new pristine.DataTransfer(), answer, texts);
          const init = { __proto__: null, bubbles: true, cancelable: true, composed: true, clipboardData };
          const again = new NativeClipboardEvent("paste", init);
          const carried = transferOf(again);
          // Firefox takes the texts from clipboardData and leaves the files.
          if (core.listFiles(pristine.transferFiles(carried)).length === 0) core.fillTransfer(carried, answer);
          return again;
        };
        if (core.dispatchAgain(target, path, make)) insert(place, answer, texts);
      });
    };

    /** navigator.clipboard.read(): its items hold the photo until the page asks for it. */
    const watchReading = () => {
      const items = new pristine.WeakMap(); // that were read from the clipboard -> type -> what the page was promised
      const noted = (list) => {
        for (let i = 0; i < list.length; i += 1) pristine.mapSet(items, list[i], { __proto__: null });
        return list;
      };
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
      const textOf = uncurry(Blob.prototype.text);
      /** A text of an item; empty, if it holds a picture's bytes. */
      const withoutPicture = (blob) =>
        pristine.then(textOf(blob), (text) =>
          core.holdsPicture(text) ? new pristine.Blob([], { __proto__: null, type: pristine.fileType(blob) }) : blob,
        );
      const ofType = (item, getting, args) => {
        const promised = pristine.mapGet(items, item);
        const type = `${args[0]}`;
        if (core.isOff() || !promised) return undefined;
        if (pristine.matches(TEXT, type)) return pristine.then(getting, withoutPicture);
        if (!pristine.matches(IMAGE, type)) return undefined;
        promised[type] ??= new pristine.Promise((resolve, reject) => {
          const refuse = (error) => {
            delete promised[type]; // who asks again is asked again
            reject(error);
          };
          pristine.then(getting, (blob) => protect(blob, resolve, refuse), refuse);
        });
        return promised[type];
      };
      core.standIn((view, wrap) => {
        wrap(view.Clipboard.prototype, "read", () => {}, (_self, reading) => pristine.then(reading, noted));
        wrap(view.ClipboardItem.prototype, "getType", () => {}, ofType);
      });
    };
    if (globalThis.Clipboard?.prototype.read && globalThis.ClipboardItem) watchReading();

    const watch = (target, listen = pristine.listen) => listen(target, "paste", onPaste, { __proto__: null, capture: true });
    core.watchWindow(watch);
  };
})();
