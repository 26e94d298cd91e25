// Route: <input type=file>, wherever it stands (document, shadow roots, detached) and however it was opened.
//
// The files are taken at the first trusted `input` or `change`, before any listener of the page: a window listener sees
// what is connected; shadow roots and detached trees, whose events never reach the window, are listened to as well.

(() => {
  "use strict";

  /** @param {object} core page/core.js */
  __pmask.routes.input = (core) => {
    const { pristine } = core;
    const options = { __proto__: null, capture: true };
    const later = setTimeout;
    const swallow = new pristine.WeakMap(); // input -> true: its trusted `change` is still to come, and is stale
    const closed = new pristine.WeakMap(); // form -> true: it has closed its dialog while a photo of it was pending
    const before = new pristine.WeakMap(); // input -> the files that it had when its dialog was opened

    /** Listens in front of the page on one more target. The browser drops repeats, so this may be called again. */
    const watch = (target, listen = pristine.listen) => {
      listen(target, "input", onPick, options);
      listen(target, "change", onPick, options);
      listen(target, "submit", onSubmit, options);
      listen(target, "invalid", onInvalid, options);
      listen(target, "reset", onReset, options);
      listen(target, "formdata", onFormData, options);
      listen(target, "click", onClick, options);
    };

    const watchTree = (node) => {
      watch(pristine.root(node));
      watch(node);
    };

    const noteFiles = (input) => pristine.mapSet(before, input, core.listFiles(pristine.inputFiles(input)));

    /** A page may take its input out of the document while the dialog is open. */
    const onClick = (event) => {
      const node = pristine.path(event)[0];
      if (!core.isFileInput(node)) return;
      watchTree(node);
      noteFiles(node);
      later(() => noteFiles(node)); // a page may empty it in this click, so that the same photo can be chosen again
    };

    const onPick = (event) => {
      if (!event.isTrusted) return;
      const input = pristine.path(event)[0];
      if (!core.isFileInput(input)) return;
      const type = pristine.type(event);
      const stale = pristine.mapDelete(swallow, input);
      if (stale && type === "change") {
        pristine.stop(event);
        return;
      }
      const files = core.listFiles(pristine.inputFiles(input));
      const passes = core.isOff() || !core.hasPhoto(files);
      if (passes && !core.isAwaited((other) => other === input)) return; // else it comes after what was chosen before it

      pristine.stop(event);
      pristine.setInputValue(input, "");
      if (type === "input") {
        pristine.mapSet(swallow, input, true);
        watchTree(input); // `change` does not leave a shadow root, and the parser makes some without attachShadow
      }
      const had = pristine.mapGet(before, input);
      pristine.mapDelete(before, input);
      pristine.mapDelete(closed, pristine.inputForm(input));
      const wasThere = pristine.connected(input); // a page may take it out while its dialog is open
      core.holdFor(input, files, { __proto__: null, folder: pristine.inputFolder(input) }, (answer) => {
        if (answer) {
          if (pristine.mapGet(closed, pristine.inputForm(input))) core.fieldGone();
          core.giveToInput(input, answer, wasThere);
          return;
        }
        // A dialog that is cancelled leaves an input as it was.
        if (had?.length > 0 && pristine.fileCount(pristine.inputFiles(input)) === 0) core.putInto(input, had);
        pristine.dispatch(input, new pristine.Event("cancel", { __proto__: null, bubbles: true }));
      });
    };

    /** The form that an input is sent with, also by the components in whose shadow roots it stands. */
    const formOf = (input) => {
      let form = pristine.inputForm(input);
      try {
        for (let node = input; !form; form = pristine.closest(node, "form")) node = pristine.rootHost(pristine.root(node));
      } catch {
        // The document has no host.
      }
      return form;
    };

    const isIn = (form) => (input) => formOf(input) === form;
    const isPending = (form) => core.isAwaited(isIn(form));

    const DIALOG = /^dialog$/i;

    /** Does this submit only close the dialog that the form stands in? */
    const closes = (event, form) => {
      if (!event.isTrusted) return false; // a script's own, by which its form is sent
      const submitter = pristine.submitter(event);
      const method = (submitter && pristine.attribute(submitter, "formmethod")) ?? pristine.attribute(form, "method") ?? "";
      return pristine.matches(DIALOG, method) !== null;
    };

    /** A form whose photo is pending would be sent without it. */
    const onSubmit = (event) => {
      const form = pristine.path(event)[0];
      if (!isPending(form)) return;
      if (closes(event, form)) {
        pristine.mapSet(closed, form, true); // Cancel or OK? If the page uses the photo now, it has none
        return;
      }
      pristine.prevent(event);
      pristine.stop(event);
      core.submitHeld();
    };

    let checking = null; // the form or input of which a script asks just now, maybe at each letter, whether it is filled in

    /** A field that must be filled is empty only because its photo is pending. */
    const onInvalid = (event) => {
      const field = pristine.path(event)[0];
      if (!core.isAwaited((input) => input === field)) return;
      pristine.prevent(event); // it would say that a file is to be chosen
      pristine.stop(event);
      if (checking !== field && checking !== pristine.inputForm(field)) core.submitHeld();
    };

    /** Nothing keeps a page from reading a form too early, so the person is told. */
    const onFormData = (event) => {
      if (isPending(pristine.path(event)[0])) core.submitHeld();
    };

    let resetting = null; // the form that a script resets just now: it makes ready for the next message, or collects

    /** The person starts again, unless the page prevents that, which is known once it has heard of it. */
    const onReset = (event) => {
      const form = pristine.path(event)[0];
      if (!event.isTrusted || form === resetting) return;
      later(() => {
        if (!pristine.prevented(event)) core.forgetFor(isIn(form));
      });
    };

    core.watchRoots(watch);
    // What the page does that would otherwise put its listener, or its tree, out of our sight.
    core.standIn((view, wrap) => {
      wrap(view.Element.prototype, "attachShadow", () => {}, (host, root) => core.noteRoot(host, root));
      // By a script, a closed root that the parser made is reached by this getter alone.
      const ofInternals = (_internals, root) => {
        if (root) core.noteRoot(pristine.rootHost(root), root);
      };
      wrap(view.ElementInternals.prototype, "shadowRoot", () => {}, ofInternals);
      wrap(
        view.EventTarget.prototype,
        "addEventListener",
        (self, args) => {
          if (args[0] === "change" || args[0] === "input") watch(self ?? view);
        },
      );
      wrap(view.HTMLElement.prototype, "onchange", (self) => watch(self));
      wrap(view.HTMLElement.prototype, "oninput", (self) => watch(self));
      wrap(view.HTMLElement.prototype, "click", watchTree);
      wrap(view.HTMLInputElement.prototype, "showPicker", (input) => {
        watchTree(input);
        noteFiles(input);
      });
      wrap(
        view.EventTarget.prototype,
        "dispatchEvent",
        (self, args) => {
          if (pristine.type(args[0]) === "click" && !pristine.connected(self)) watchTree(self);
        },
      );
      wrap(
        view.HTMLFormElement.prototype,
        "submit",
        (self) => {
          if (!isPending(self)) return undefined;
          core.submitHeld();
          return { __proto__: null, instead: undefined };
        },
      );
      const check = (self) => {
        checking = self;
      };
      const checked = () => {
        checking = null;
      };
      wrap(view.HTMLFormElement.prototype, "checkValidity", check, checked);
      wrap(view.HTMLInputElement.prototype, "checkValidity", check, checked);
      wrap(
        view.HTMLFormElement.prototype,
        "reset",
        (form) => {
          resetting = form;
        },
        () => {
          resetting = null;
        },
      );
    });
    core.watchWindow(watch);
  };
})();
