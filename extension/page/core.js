// The guard's core, in the page's own (MAIN) world: the browser's functions as they were before any script of the page
// ran, the line to the bridge, and the wait for an answer. First of the MAIN-world files; routes/*.js build on it, and
// guard.js starts them and takes this object out of the page's sight.
//
// The page shares these prototypes, so nothing here calls a method by name once the page runs: only `pristine`'s copies.

(() => {
  "use strict";

  const { apply, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } = Reflect;
  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const getter = (prototype, name) => uncurry(getOwnPropertyDescriptor(prototype, name).get);
  const setter = (prototype, name) => uncurry(getOwnPropertyDescriptor(prototype, name).set);

  /** Each takes the object first: `listen(target, type, listener, options)`. */
  const pristine = {
    __proto__: null,
    Promise,
    Proxy,
    Event,
    Blob,
    File,
    DOMException,
    MessageEvent,
    listen: uncurry(EventTarget.prototype.addEventListener),
    unlisten: uncurry(EventTarget.prototype.removeEventListener),
    dispatch: uncurry(EventTarget.prototype.dispatchEvent),
    stop: uncurry(Event.prototype.stopImmediatePropagation),
    prevent: uncurry(Event.prototype.preventDefault),
    path: uncurry(Event.prototype.composedPath),
    type: getter(Event.prototype, "type"),
    prevented: getter(Event.prototype, "defaultPrevented"),
    then: uncurry(Promise.prototype.then),
    resolve: Promise.resolve.bind(Promise),
    sourceOf: uncurry(Function.prototype.toString),
    documentOf: uncurry(getOwnPropertyDescriptor(window, "document").get),
    viewOf: getter(Document.prototype, "defaultView"),
    connected: getter(Node.prototype, "isConnected"),
    root: uncurry(Node.prototype.getRootNode),
    rootHost: getter(ShadowRoot.prototype, "host"),
    pointIn: uncurry(ShadowRoot.prototype.elementFromPoint),
    activeIn: getter(ShadowRoot.prototype, "activeElement"),
    inputType: getter(HTMLInputElement.prototype, "type"),
    inputMultiple: getter(HTMLInputElement.prototype, "multiple"),
    inputDisabled: getter(HTMLInputElement.prototype, "disabled"),
    inputFiles: getter(HTMLInputElement.prototype, "files"),
    setInputFiles: setter(HTMLInputElement.prototype, "files"),
    setInputValue: setter(HTMLInputElement.prototype, "value"),
    inputForm: getter(HTMLInputElement.prototype, "form"),
    submitter: getter(SubmitEvent.prototype, "submitter"),
    attribute: uncurry(Element.prototype.getAttribute),
    closest: uncurry(Element.prototype.closest),
    inputFolder: getter(HTMLInputElement.prototype, "webkitdirectory"),
    fileCount: getter(FileList.prototype, "length"),
    fileAt: uncurry(FileList.prototype.item),
    fileName: getter(File.prototype, "name"),
    fileModified: getter(File.prototype, "lastModified"),
    fileType: getter(Blob.prototype, "type"),
    DataTransfer,
    transferItems: getter(DataTransfer.prototype, "items"),
    transferAdd: uncurry(DataTransferItemList.prototype.add),
    transferFiles: getter(DataTransfer.prototype, "files"),
    transferTypes: getter(DataTransfer.prototype, "types"),
    transferGet: uncurry(DataTransfer.prototype.getData),
    transferSet: uncurry(DataTransfer.prototype.setData),
    itemCount: getter(DataTransferItemList.prototype, "length"),
    itemEntry: uncurry(DataTransferItem.prototype.webkitGetAsEntry),
    itemFile: uncurry(DataTransferItem.prototype.getAsFile),
    data: getter(MessageEvent.prototype, "data"),
    ports: getter(MessageEvent.prototype, "ports"),
    post: uncurry(MessagePort.prototype.postMessage),
    start: uncurry(MessagePort.prototype.start),
    matches: uncurry(RegExp.prototype.exec),
    WeakMap,
    // WeakMap, not a mark on the element: the page cannot see it.
    mapGet: uncurry(WeakMap.prototype.get),
    mapSet: uncurry(WeakMap.prototype.set),
    mapDelete: uncurry(WeakMap.prototype.delete),
  };

  /** An array that no setter on the page's prototypes can overhear. */
  const bareArray = () => {
    const array = [];
    setPrototypeOf(array, null);
    return array;
  };

  const PHOTO_TYPE = /^image\//i;
  const PHOTO_NAME =
    /\.(avifs?|bmp|dib|gif|hei[cf]s?|hif|ico|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|pjp|pjpeg|png|ppm|psd|svg|tga|tif|tiff|webp)$/i;
  const OTHER_NAME =
    /\.(7z|avi|bz2|c|cfg|cpp|cs|css|csv|docx?|exe|gz|h|html?|ini|iso|java|js|json|log|md|mkv|mov|mp[34]|od[pst]|pdf|pptx?|py|rar|rs|sh|sql|tar|toml|ts|txt|wav|webm|xlsx?|xml|ya?ml|zip)$/i;
  const NO_TYPE = /^(application\/(octet-stream|x-(download|partial-download|trash)))?$/i; // a desktop's types for p.jpg.part and p.jpg.bak, too

  /** Is this file a photo by its type or, since a browser knows few types by heart, by its name? */
  const isPhoto = (file) =>
    pristine.matches(PHOTO_TYPE, pristine.fileType(file)) !== null ||
    pristine.matches(PHOTO_NAME, pristine.fileName(file)) !== null;

  /** Is it one, or may it be, as far as type and name tell? Then its first bytes are looked at (page/pick.js). */
  const mayBePhoto = (file) =>
    isPhoto(file) ||
    (pristine.matches(NO_TYPE, pristine.fileType(file)) !== null &&
      pristine.matches(OTHER_NAME, pristine.fileName(file)) === null);

  /** Is anything among these files to be held? */
  const hasPhoto = (files) => {
    for (let i = 0; i < files.length; i += 1) if (mayBePhoto(files[i])) return true;
    return false;
  };

  /** A FileList as a bare array. */
  const listFiles = (fileList) => {
    const files = bareArray();
    const count = fileList ? pristine.fileCount(fileList) : 0;
    for (let i = 0; i < count; i += 1) files[i] = pristine.fileAt(fileList, i);
    return files;
  };

  const NAMELESS = pristine.sourceOf(new Proxy(() => {}, {})); // what a Proxy prints
  const natives = new WeakMap(); // our wrapper -> the browser's function that it stands in front of

  /**
   * Stands in front of a function (or else setter, or else getter) of the page's prototypes. A Proxy, so that name and
   * length stay those of the browser (`lookNative` sees to the source text). If `before` throws, the call goes through:
   * a wrapper must never break a page.
   *
   * @param {object} prototype
   * @param {string} name
   * @param {(self: any, args: any[]) => {instead: any} | void} before what it returns, if anything, holds the call back
   * @param {(self: any, result: any, args: any[]) => any} [after] what it returns, if anything, is the call's result
   */
  const wrap = (prototype, name, before, after) => {
    const descriptor = getOwnPropertyDescriptor(prototype, name);
    if (!descriptor?.configurable) return;
    const part = descriptor.value ? "value" : descriptor.set ? "set" : "get";
    const wrapped = new pristine.Proxy(descriptor[part], {
      __proto__: null,
      apply(target, self, args) {
        let held;
        try {
          held = before(self, args);
        } catch {
          // Not an object of ours: the browser's own function says so better.
        }
        if (held) return held.instead;
        const result = apply(target, self, args);
        return after?.(self, result, args) ?? result;
      },
    });
    pristine.mapSet(natives, wrapped, pristine.mapGet(natives, descriptor[part]) ?? descriptor[part]);
    descriptor[part] = wrapped;
    defineProperty(prototype, name, descriptor);
  };

  /** Some pages, and scripts against bots, refuse to work where a browser's function does not print as its own. */
  const lookNative = (prototype) => {
    const printed = (self) => {
      const native = pristine.mapGet(natives, self);
      return native && pristine.sourceOf(native);
    };
    wrap(prototype, "toString", () => {}, printed);
  };

  const watchers = bareArray();

  /**
   * Has `watch` called with each window that is looked after, now and whenever it may have lost its listeners; with
   * `pristine.unlisten` as well, it takes them away.
   */
  const watchWindow = (watch) => {
    watchers[watchers.length] = watch;
    watch(window);
  };

  const watchAgain = (view, listen = pristine.listen) => {
    for (let i = 0; i < watchers.length; i += 1) watchers[i](view, listen);
  };

  const WATCHED = { __proto__: null };
  for (const type of ["input", "change", "submit", "invalid", "reset", "formdata", "click", "drop", "dragstart", "paste"]) WATCHED[type] = true;

  /** The prototype of an object in which this name is at home. */
  const homeOf = (object, name) => {
    let home = getPrototypeOf(object);
    while (home && !getOwnPropertyDescriptor(home, name)) home = getPrototypeOf(home);
    return home; // null of a window of another origin
  };

  /** Does a guard of its own stand in a window? It put a Proxy there, and a Proxy prints without a name. */
  const isGuarded = (targets) => {
    const listen = getOwnPropertyDescriptor(targets, "addEventListener").value;
    return !pristine.mapGet(natives, listen) && pristine.sourceOf(listen) === NAMELESS;
  };

  /**
   * document.open(), which write() may call, removes every listener of the window: ours, and the bridge's. The scripts that
   * write() brings run within it, so a listener that they add has ours put in front of it first.
   */
  const keepWatching = (view, documents, targets, isLeft) => {
    const again = (self) => {
      if (isLeft()) return;
      const opened = pristine.viewOf(self); // another window's, where its document was handed to a function of this one
      if (opened) watchAgain(opened);
      if (bell) pristine.dispatch(bell, new pristine.Event("reopened"));
    };
    for (const name of ["open", "write", "writeln"]) wrap(documents, name, () => {}, again);
    wrap(targets, "addEventListener", (self, args) => {
      if ((self ?? view) === view && typeof args[0] === "string" && WATCHED[args[0]] && !isLeft()) watchAgain(view);
    });
  };

  const standers = bareArray();

  /**
   * Has `stand(view, wrap)` called with each window that is looked after, whose page may call the functions of that
   * window's own prototypes: it wraps them, by the `wrap` that it is given.
   */
  const standIn = (stand) => {
    standers[standers.length] = stand;
    stand(window, wrap);
  };

  /** Stands in front of all that `standIn` named in a window of ours, until it has a guard of its own. */
  const standThere = (view, targets) => {
    let left = false;
    /** Where an initial document is left for another of its site, browsers keep window, listeners and all: two guards. */
    const isLeft = () => {
      if (!left && isGuarded(targets)) {
        left = true;
        watchAgain(view, pristine.unlisten);
      }
      return left;
    };
    keepWatching(view, homeOf(pristine.documentOf(view), "write"), targets, isLeft);
    lookNative(homeOf(getOwnPropertyDescriptor(targets, "addEventListener").value, "toString"));
    const wrapThere = (prototype, name, before, after) => {
      const unlessLeft = (self, args) => (isLeft() ? undefined : before(self, args));
      wrap(prototype, name, unlessLeft, (self, result, args) => (left ? undefined : after?.(self, result, args)));
    };
    for (let i = 0; i < standers.length; i += 1) {
      try {
        standers[i](view, wrapThere);
      } catch {
        // A window without a secure context lacks some: the others are still to come.
      }
    }
  };

  const adopted = new WeakMap(); // EventTarget.prototype of a window that we look after from here -> true

  /**
   * Looks after a window that the page reaches and into which browsers put no scripts: a frame or popup with an address
   * that has not left, or never leaves, its initial empty document (`javascript:void 0`, an answer without content).
   */
  const adopt = (view) => {
    const targets = view && homeOf(view, "addEventListener");
    if (!targets || view === window || isGuarded(targets)) return;
    watchAgain(view);
    if (pristine.mapGet(adopted, targets)) return;
    pristine.mapSet(adopted, targets, true);
    standThere(view, targets);
  };

  const reached = (_self, view) => {
    try {
      adopt(view);
    } catch {
      // The page has put something of its own there: it must not break.
    }
  };

  const watchReached = () =>
    standIn((view, wrapIn) => {
      const ofDocument = (self, inside) => reached(self, inside && pristine.viewOf(inside));
      wrapIn(view.HTMLIFrameElement.prototype, "contentWindow", () => {}, reached);
      wrapIn(view.HTMLIFrameElement.prototype, "contentDocument", () => {}, ofDocument);
      wrapIn(view, "open", () => {}, reached);
    });

  const closedRoots = new WeakMap(); // host -> its root, which an event that left it does not name

  const rootWatchers = bareArray();

  /** Has `watch` called with each shadow root that becomes known. */
  const watchRoots = (watch) => (rootWatchers[rootWatchers.length] = watch);

  /** Remembers a shadow root that the page has made or asked for, or that the bridge has shown. */
  const noteRoot = (host, root) => {
    pristine.mapSet(closedRoots, host, root);
    for (let i = 0; i < rootWatchers.length; i += 1) rootWatchers[i](root);
  };

  /** The element in which an event began, also where that is in closed shadow roots. `inside(root)` looks into one. */
  const innermost = (target, inside) => {
    for (;;) {
      const root = pristine.mapGet(closedRoots, target);
      const inner = root && inside(root);
      if (!inner || inner === target) return target;
      target = inner;
    }
  };

  /**
   * What a drop or a paste carries: its files, the texts beside them, and whether a folder is among them. To be called
   * within the event: afterwards the browser empties the transfer.
   */
  const readTransfer = (transfer) => {
    const texts = bareArray();
    const types = pristine.transferTypes(transfer);
    for (let i = 0; i < types.length; i += 1) {
      if (types[i] !== "Files") texts[texts.length] = { type: types[i], text: pristine.transferGet(transfer, types[i]) };
    }
    const items = pristine.transferItems(transfer);
    let folder = false;
    for (let i = 0; i < pristine.itemCount(items); i += 1) {
      const entry = pristine.itemEntry(items[i]);
      if (entry?.isDirectory) folder = true; // Chromium exposes no FileSystemEntry to take the getter from
    }
    return { __proto__: null, files: listFiles(pristine.transferFiles(transfer)), texts, folder };
  };

  const PICTURE = /data:image\//i;

  /** Does a text hold a picture's bytes, which may be the original once more? */
  const holdsPicture = (text) => pristine.matches(PICTURE, text) !== null;

  /** Puts files, and the texts that were beside them, into a transfer; but no text that holds the original once more. */
  const fillTransfer = (transfer, files, texts = bareArray()) => {
    const items = pristine.transferItems(transfer);
    for (let i = 0; i < files.length; i += 1) pristine.transferAdd(items, files[i]);
    for (let i = 0; i < texts.length; i += 1) {
      const { type, text } = texts[i];
      if (!holdsPicture(text)) pristine.transferSet(transfer, type, text);
    }
    return transfer;
  };

  /**
   * Dispatches an event anew where the person caused it, on `target` and along `path`. What the page has taken away since,
   * as when it drew itself anew, gets it by itself, and the nearest of its ancestors that still stands gets it too.
   *
   * @param {() => Event} make
   * @returns {boolean} whether the page left it alone
   */
  const dispatchAgain = (target, path, make) => {
    const isGone = !pristine.connected(target);
    const isFree = pristine.dispatch(target, make());
    if (!isGone || !isFree) return isFree;
    let i = 0;
    while (!pristine.connected(path[i])) i += 1; // at the latest the document is
    return pristine.dispatch(path[i], make());
  };

  const isFileInput = (node) => {
    try {
      return pristine.inputType(node) === "file";
    } catch {
      return false; // not an <input>
    }
  };

  /** Puts files into an input, without a word to the page. */
  const putInto = (input, files) =>
    pristine.setInputFiles(input, pristine.transferFiles(fillTransfer(new pristine.DataTransfer(), files)));

  /**
   * Hands files to an input as the browser would: set first, then `input`, then `change`. One that the page has taken away
   * since (`wasThere`) may be listened to still, or may have another in its place, so the person is told.
   */
  const giveToInput = (input, files, wasThere) => {
    if (wasThere && !pristine.connected(input)) fieldGone();
    putInto(input, files);
    pristine.dispatch(input, new pristine.Event("input", { __proto__: null, bubbles: true, composed: true }));
    pristine.dispatch(input, new pristine.Event("change", { __proto__: null, bubbles: true }));
  };

  let bell = null; // a target that the page cannot reach: through it the bridge is called, and gives us our end of the line
  let port = null;
  let state = "unknown";
  let lastId = 0;
  const unsent = bareArray();
  const waiting = { __proto__: null };

  const send = (message) => {
    // The bridge gives us the line at once, if it has not yet; and whoever is to hear us may still have to be fetched.
    if (bell) pristine.dispatch(bell, new pristine.Event("ring"));
    if (port) pristine.post(port, message);
    else unsent[unsent.length] = message;
  };

  /**
   * Asks the desk about files that were taken from the page. `settle` is called once, with the files that may go
   * (protected, or the original where the person said so) and their places among `files`, or with null when the pick was
   * cancelled.
   *
   * @param {File[]} files a bare array
   * @param {{folder?: boolean}} about
   * @param {(files: File[] | null, places?: number[]) => void} settle
   * @returns {number} the hold's id, for `forget`
   */
  const hold = (files, about, settle) => {
    lastId += 1;
    const photos = bareArray();
    for (let i = 0; i < files.length; i += 1) {
      const file = files[i];
      if (mayBePhoto(file)) photos[photos.length] = { __proto__: null, index: i, file, isSure: isPhoto(file) };
    }
    waiting[lastId] = { __proto__: null, files, settle };
    send({ __proto__: null, name: "photos", id: lastId, photos, folder: about.folder === true });
    return lastId;
  };

  /** Tells the person that the page took away what the photo was for. */
  const fieldGone = () => send({ __proto__: null, name: "field-gone" });

  /** Gives up on a hold: the person reset the form. */
  const forget = (id) => {
    delete waiting[id];
    send({ __proto__: null, name: "forget", id });
  };

  const turns = { __proto__: null }; // number -> files for an input that it does not have yet: {input, id, give, answer}
  let lastTurn = 0;

  /** Gives an input what is ready for it, up to the first that is not: a page may collect, or keep what came last. */
  const takeTurns = (input) => {
    for (const number in turns) {
      const turn = turns[number]; // such keys come in the order of their numbers
      if (turn.input !== input) continue;
      if (turn.answer === undefined) return;
      delete turns[number];
      try {
        turn.give(turn.answer);
      } catch {
        fieldGone(); // those behind it are still to come
      }
    }
  };

  /**
   * Like `hold`, for files that go into an input: each choice and each drop comes to it in the order in which the person
   * made them, with events of its own.
   */
  const holdFor = (input, files, about, give) => {
    const turn = { __proto__: null, input, give, id: 0, answer: undefined };
    lastTurn += 1;
    turns[lastTurn] = turn;
    const settle = (answer) => {
      turn.answer = answer;
      takeTurns(input);
    };
    if (state !== "off" && hasPhoto(files)) turn.id = hold(files, about, settle);
    else settle(files);
  };

  /** Does an input of which `holds` is true wait for files? */
  const isAwaited = (holds) => {
    for (const number in turns) if (holds(turns[number].input)) return true;
    return false;
  };

  /** Gives up on all that the inputs of which `holds` is true wait for: the person has reset their form. */
  const forgetFor = (holds) => {
    for (const number in turns) {
      const { input, id, answer } = turns[number];
      if (!holds(input)) continue;
      delete turns[number];
      if (answer === undefined) forget(id);
    }
  };

  const pristineArrayPrototype = { __proto__: null, [Symbol.iterator]: Array.prototype[Symbol.iterator] };

  /** A file of these bytes; without `modified`, of now. */
  const fileOf = (blob, name, type, modified) => {
    const bits = bareArray();
    bits[0] = blob;
    // File's constructor walks the array's iterator, which a bare array lacks, and the page's own could overhear.
    setPrototypeOf(bits, pristineArrayPrototype);
    return new pristine.File(bits, name, { __proto__: null, type, lastModified: modified });
  };

  /** The protected bytes under the name, type and date that the page would have seen. */
  const asPicked = (blob, original) =>
    fileOf(blob, pristine.fileName(original), pristine.fileType(original), pristine.fileModified(original));

  const settled = ({ id, answers }) => {
    const held = waiting[id];
    if (!held) return;
    delete waiting[id];
    if (!answers) {
      held.settle(null);
      return;
    }
    const outcome = { __proto__: null };
    for (let i = 0; i < answers.length; i += 1) outcome[answers[i].index] = answers[i];
    const files = bareArray();
    const places = bareArray();
    for (let i = 0; i < held.files.length; i += 1) {
      const answer = outcome[i];
      let file = null; // a photo without an answer stays out: fail closed
      if (!mayBePhoto(held.files[i]) || answer?.use === "original") file = held.files[i];
      else if (answer?.use === "protected") file = asPicked(answer.blob, held.files[i]);
      if (!file) continue;
      places[files.length] = i;
      files[files.length] = file;
    }
    if (files.length > 0) held.settle(files, places);
    else held.settle(null);
  };

  const receive = (event) => {
    const message = pristine.data(event);
    if (message.name === "state") state = message.on ? "on" : "off";
    if (message.name === "settled") {
      settled(message);
      send({ __proto__: null, name: "handed" });
    }
  };

  /** Takes the bell that the bridge offers, before any script of the page runs. `stands` tells it that no route is missing. */
  const connect = (stands) => {
    const onLine = (event) => {
      port = pristine.ports(event)[0];
      pristine.listen(port, "message", receive);
      pristine.start(port);
      for (let i = 0; i < unsent.length; i += 1) pristine.post(port, unsent[i]);
      unsent.length = 0;
      for (let i = 0; window[i]; i += 1) reached(null, window[i]); // there is a person; the page may know them by name only
    };
    const onRoot = (event) => {
      const root = pristine.root(event.submitter);
      noteRoot(pristine.rootHost(root), root);
    };
    const onOffer = (event) => {
      pristine.stop(event);
      if (stands) pristine.prevent(event);
      bell = event.relatedTarget;
      pristine.listen(bell, "line", onLine);
      pristine.listen(bell, "root", onRoot);
      if (unsent.length > 0) pristine.dispatch(bell, new pristine.Event("ring"));
    };
    pristine.listen(window, "pmask-line", onOffer, { __proto__: null, capture: true, once: true });
  };

  const core = {
    __proto__: null,
    pristine,
    routes: { __proto__: null },
    bareArray,
    hasPhoto,
    listFiles,
    fileOf,
    readTransfer,
    holdsPicture,
    fillTransfer,
    dispatchAgain,
    isFileInput,
    putInto,
    giveToInput,
    noteRoot,
    watchRoots,
    innermost,
    wrap,
    standIn,
    lookNative: () => lookNative(Function.prototype),
    watchWindow,
    keepWatching: () => keepWatching(window, Document.prototype, EventTarget.prototype, () => false),
    watchReached,
    hold,
    holdFor,
    isAwaited,
    forgetFor,
    connect,
    fieldGone,
    /** Tells the person that a whole folder was stopped: its photos cannot be protected, and must not go in silence. */
    folderHeld: () => send({ __proto__: null, name: "folder-held" }),
    /** Tells the desk that a form was not submitted, because a photo is pending. */
    submitHeld: () => send({ __proto__: null, name: "submit-held" }),
    /** Known to be off for this site, so that events may pass untouched. Not knowing is not off. */
    isOff: () => state === "off",
  };
  defineProperty(globalThis, "__pmask", { __proto__: null, configurable: true, value: core });
})();
