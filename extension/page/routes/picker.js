// Route: files that the page asks for with showOpenFilePicker(). What the page gets are stand-ins for the handles, which
// read the protected photo; a handle itself could be read at any later time, or by a worker.

(() => {
  "use strict";

  /** @param {object} core page/core.js */
  __pmask.routes.picker = (core) => {
    const { pristine } = core;
    if (!globalThis.FileSystemFileHandle || !globalThis.showOpenFilePicker) return; // Firefox, and pages without TLS
    const { apply, get } = Reflect;
    const fileOf = Function.prototype.call.bind(FileSystemFileHandle.prototype.getFile);
    const handleOf = new pristine.WeakMap(); // stand-in -> handle

    /** The handle in all but its file. It cannot be stored or sent to a worker: cloning it throws. */
    const standIn = (handle, file) => {
      const getFile = () => pristine.resolve(file);
      const stand = new pristine.Proxy(handle, {
        __proto__: null,
        get(target, name) {
          if (name === "getFile") return getFile;
          const value = get(target, name, target);
          if (typeof value !== "function") return value;
          return (...args) => {
            for (let i = 0; i < args.length; i += 1) args[i] = pristine.mapGet(handleOf, args[i]) ?? args[i];
            return apply(value, target, args);
          };
        },
      });
      pristine.mapSet(handleOf, stand, handle);
      return stand;
    };

    const dismissed = () => new pristine.DOMException("The user aborted a request.", "AbortError");

    /** The picked handles as the page may have them, once every photo is final. Rejects as if the person had cancelled. */
    const protect = (handles, resolve, reject) => {
      const files = core.bareArray();
      let left = handles.length;
      const asked = () => {
        if (!core.hasPhoto(files)) {
          resolve(handles);
          return;
        }
        core.hold(files, { __proto__: null }, (answer, places) => {
          if (!answer) {
            reject(dismissed());
            return;
          }
          const stands = [];
          for (let i = 0; i < answer.length; i += 1) {
            const handle = handles[places[i]];
            // Not a photo, or the person's word: as it is.
            stands[i] = answer[i] === files[places[i]] ? handle : standIn(handle, answer[i]);
          }
          resolve(stands);
        });
      };
      for (let i = 0; i < handles.length; i += 1) {
        const read = (file) => {
          files[i] = file;
          left -= 1;
          if (left === 0) asked();
        };
        pristine.then(fileOf(handles[i]), read, reject);
      }
    };

    core.standIn((view, wrap) => {
      wrap(view, "showOpenFilePicker", () => {}, (_self, picked) => {
        if (core.isOff()) return undefined;
        return new pristine.Promise((resolve, reject) => {
          pristine.then(picked, (handles) => protect(handles, resolve, reject), reject);
        });
      });
      wrap(
        view,
        "showDirectoryPicker",
        () => {
          if (core.isOff()) return undefined;
          core.folderHeld();
          return { __proto__: null, instead: new pristine.Promise((_resolve, reject) => reject(dismissed())) };
        },
      );
    });
  };
})();
