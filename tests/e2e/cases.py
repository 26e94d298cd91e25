# ruff: noqa: E501 -- a case is a line
"""Every way in which files reach a page, played in both browsers; docs/routes.md is made of this and what was seen."""

from __future__ import annotations

from arena import Case

INNER = "document.querySelector('iframe').contentDocument.querySelector('input')"
INNER_ZONE = "document.querySelector('iframe').contentDocument.getElementById('zone')"
INNER_BUTTON = "document.querySelector('iframe').contentDocument.querySelector('button')"
FRAME = "document.querySelector('iframe')"
NESTED = (
    "document.querySelector('iframe').contentDocument.querySelector('iframe').contentDocument.querySelector('input')"
)
CLIPBOARD_MENU = {"firefox": "Firefox asks in a menu of its own that no tool presses"}
NO_PICKER = {"firefox": "Firefox has no file picker of its own"}
NO_HANDLES = {"firefox": "Firefox hands out no handles"}
SEVERAL = ("käthe.png", "notes.txt", "eileen.jpg", "clip.mp4", "third.webp")
BROWSE = "document.querySelector('.uppy-Dashboard-browse')"


def route(name: str, what: str, **more) -> Case:
    return Case(name=what, page=f"pages/route.html?{name}", **more)


def framework(name: str, what: str, **more) -> Case:
    return Case(name=what, page=f"pages/framework.html?{name}", **more)


# Why a way is not played in a browser.
PLACELESS = {"firefox": "the drop that tests can make in Firefox has no place on the page, and this page asks for it"}
INPUTS = [
    route("change", "input, listener on it"),
    route("input", "input, `oninput`"),
    route("inline", "input, handler written as an attribute"),
    route("capturing", "input, listener on the document in the capture phase"),
    route("late", "input made later, as markup"),
    route("removed", "input taken out of the page while its dialog is open"),
    route("hidden", "hidden input behind a button (`click()`)"),
    route("label", "hidden input behind a label"),
    route("show-picker", "hidden input behind a button (`showPicker()`)"),
    route("detached", "input that never enters the page"),
    Case(
        name="input that never enters the page, inline handler",
        page="detached",
        target="document.getElementById('choose-inline')",
    ),
    Case(name="input in a detached tree", page="detached", target="document.getElementById('choose-tree')"),
    Case(name="open shadow root", page="shadow", target="document.getElementById('open')"),
    Case(name="closed shadow root", page="shadow", target="document.getElementById('closed')"),
    Case(name="closed shadow root, written by the parser", page="shadow", target="document.getElementById('declared')"),
    route("nested-shadow", "closed shadow root in a closed shadow root"),
    route("shadow-unsafe-html", "open shadow root by `setHTMLUnsafe`"),
    route("shadow-cloned", "closed shadow root, cloned from a template, inline handler"),
    route("reopened-shadow-cloned", "closed shadow root, cloned after `document.open()`"),
    route("mixed", "several files, photos and others; dates kept", files=SEVERAL),
    route("change", "HEIC, as from a phone", files=("phone.heic",)),
    route(
        "folder",
        "folder input",
        files=("album",),
        arrive=2,
        words="Whole folders are not protected",
        never={"firefox": "no tool picks a folder in Firefox"},
    ),
]

READING = [
    route("raw", "page sends the bare bytes (PUT)"),
    route(
        "slices",
        "page sends the file in slices",
    ),
    route("data-url", "page sends a `data:` URL in JSON"),
    route("stream", "page reads the file as a stream"),
    route("worker", "page hands the file to a worker"),
    route("canvas", "page draws the photo and sends the drawing"),
]

FORMS = [
    Case(
        name="form with a button, sent by script",
        page="",
        target="document.getElementById('photo')",
        then="form button",
    ),
    route("form", "form posted the classic way", then="#post"),
    route("form-submit", "form that posts itself (`submit()`)"),
    route("form-request-submit", "form that posts itself (`requestSubmit()`)"),
    route("form-elsewhere", "form with its input and button outside", then="#post"),
    route("form-data", "`FormData(form)`"),
    route("form-data-event", "`formdata` event", then="#post"),
]

FRAMES = [
    route("frame-same", "frame of the same site", target=INNER),
    route("frame-cross-origin", "frame of another site", target=FRAME),
    route("frame-sandbox", "sandboxed frame without an origin", target=FRAME),
    route("frame-nested", "frame in a frame", target=NESTED),
    route("frame-srcdoc", "`srcdoc` frame", target=INNER),
    route("frame-blank", "`about:blank` frame, filled at once", target=INNER),
    route("frame-written", "`about:blank` frame, `document.write`", target=INNER),
    route("frame-written-closed", "`about:blank` frame, `document.write` of a closed shadow root",
          target="document.querySelector('iframe').contentDocument.querySelector('div')"),
    route("frame-written-scriptless", "`about:blank` frame, `document.write`, sandboxed without scripts", target=INNER),
    route("frame-written-abroad", "`about:blank` frame, another window's `document.write`", target=INNER),
    route("frame-opened-abroad", "`about:blank` frame, another window's `document.open`", target=INNER),
    route("frame-void", "frame with `src=javascript:void 0`, filled at once", target=INNER),
    route("frame-void-late", "frame with `src=javascript:void 0`, filled later", target=INNER),
    route("frame-fragment-late", "frame with `src=about:blank#late`, filled later", target=INNER),
    route("frame-no-content", "frame whose address has no content (204), filled later", target=INNER),
    route("frame-stopped", "frame whose loading `document.open` stops", target=INNER),
    route("frame-void-detached", "frame with `src=javascript:void 0`, input that never enters it", target=INNER_BUTTON),
    route("frame-void-closed", "frame with `src=javascript:void 0`, closed shadow root",
          target="document.querySelector('iframe').contentDocument.querySelector('div')"),
    route("frame-void-nested", "frame with `src=javascript:void 0` in such a frame", target=NESTED),
    route("frame-moved", "input moved into another window's document", target=INNER),
]  # fmt: skip

DROPS = [
    route("drop-files", "drop, read as files", gesture="drop", files=SEVERAL),
    route("drop-items", "drop, read as items", gesture="drop", files=SEVERAL),
    route("drop-entries", "drop, read as entries", gesture="drop"),
    route("drop-handles", "drop, read as handles", gesture="drop", never=NO_HANDLES),
    Case(name="drop, handles if there are any", page="drop", gesture="drop"),
    route("drop-on-input", "drop on an input", gesture="drop",
          never={"firefox": "no tool makes Firefox's own reaction to a drop"}),
    route("drop-over-input", "drop on a transparent input over the zone", gesture="drop"),
    route("drop-closed-shadow", "drop in a closed shadow root", gesture="drop",
          never={"firefox": "no tool aims a drop into a shadow root in Firefox"}),
    route("drop-cloned-shadow", "drop in a closed shadow root, cloned from a template", gesture="drop",
          never={"firefox": "no tool aims a drop into a shadow root in Firefox"}),
    route("drop-window", "drop anywhere in the window", gesture="drop"),
    route("drop-written", "drop, listener in front, in a page written anew", gesture="drop"),
    route("drop-written-frame", "drop, listener in front, in a frame written anew", gesture="drop", target=INNER_ZONE),
    route("frame-void-drop", "drop, listener in front, in a frame with `src=javascript:void 0`", gesture="drop", target=INNER_ZONE),
    route("drop-frame", "drop in a frame", gesture="drop", target=INNER),
    route("drop-transfer", "dropped files put into an input by the page's own `DataTransfer`", gesture="drop"),
    route("drop-worker", "dropped handle handed to a worker", gesture="drop"),
    route("drop-folder", "folder dropped", gesture="drop", files=("album",), arrive=2, words="Folders are not protected",
          never={"firefox": "no tool drags a folder in Firefox"}),
]  # fmt: skip

CLIPBOARD = [
    route("paste", "paste, read as files", gesture="paste"),
    route("paste-items", "paste, read as items", gesture="paste"),
    route("paste-editable", "paste into edited text that nobody listens to", gesture="paste"),
    route("paste-closed-shadow", "paste in a closed shadow root", gesture="paste"),
    route("paste-cloned-shadow", "paste in a closed shadow root, cloned from a template", gesture="paste"),
    route("clipboard-read", "`navigator.clipboard.read()`", gesture="press",
          never=CLIPBOARD_MENU),
    route("frame-void-clipboard", "`navigator.clipboard.read()` in a frame with `src=javascript:void 0`", gesture="press",
          target=INNER_BUTTON, never=CLIPBOARD_MENU),
]  # fmt: skip

PICKERS = [
    route(
        "open-picker",
        "`showOpenFilePicker`",
        gesture="click",
        before="picker",
        files=("eileen.jpg", "notes.txt"),
        never=NO_PICKER,
    ),
    route(
        "directory-picker",
        "`showDirectoryPicker`",
        gesture="click",
        before="picker",
        words="Folders are not protected",
        never=NO_PICKER,
    ),
]

MEDDLERS = [
    route("wraps-after", "page that wraps the same functions later"),
    route("wraps-before", "other script that wraps them earlier", before="wraps"),
    route("checks-native", "page that checks `Function.prototype.toString`"),
]

FRAMEWORKS = [
    framework("react", "React 18: input"),
    framework("react", "React 18: drop", gesture="drop"),
    framework("react", "React 18: paste", gesture="paste", target="document.getElementById('zone')"),
    framework("vue", "Vue: input"),
    framework("vue", "Vue: drop", gesture="drop"),
    framework("vue", "Vue: paste", gesture="paste", target="document.getElementById('zone')"),
    framework("svelte", "Svelte: input (`bind:files`)"),
    framework("svelte", "Svelte: drop", gesture="drop"),
    framework("svelte", "Svelte: paste", gesture="paste", target="document.getElementById('zone')"),
    framework("react-dropzone-14", "react-dropzone 14: input", target="document.getElementById('zone')"),
    framework("react-dropzone-14", "react-dropzone 14: drop", gesture="drop", files=SEVERAL),
    framework("react-dropzone-14&picker", "react-dropzone 14: `showOpenFilePicker`", gesture="click", target="document.getElementById('zone')",
              before="picker", never=NO_PICKER),
    framework("react-dropzone", "react-dropzone 20: input", target="document.getElementById('zone')"),
    framework("react-dropzone", "react-dropzone 20: drop", gesture="drop", files=SEVERAL),
    framework("uppy", "Uppy: input", target=BROWSE, in_order=False),
    framework("uppy", "Uppy: drop", gesture="drop", target="document.querySelector('.uppy-Dashboard-inner')", files=SEVERAL, in_order=False),
    framework("uppy", "Uppy: paste", gesture="paste", target="document.querySelector('.uppy-Dashboard-AddFiles-title')"),
    framework("filepond", "FilePond: input", target="document.querySelector('.filepond--label-action')"),
    framework("filepond", "FilePond: drop", gesture="drop", never=PLACELESS, target="document.querySelector('.filepond--root')", files=SEVERAL, in_order=False),
    framework("filepond", "FilePond: paste", gesture="paste", target="document.getElementById('title')"),
    framework("dropzone", "Dropzone.js: input", target="document.getElementById('zone')"),
    framework("dropzone", "Dropzone.js: drop", gesture="drop", files=SEVERAL, in_order=False),
    framework("jquery", "jQuery File Upload: input", files=SEVERAL, in_order=False),
    framework("jquery", "jQuery File Upload: drop", gesture="drop"),
    framework("jquery", "jQuery File Upload: paste", gesture="paste", target="document.getElementById('zone')"),
    framework("tiptap", "TipTap: paste", gesture="paste", target="document.querySelector('.ProseMirror')"),
    framework("tiptap", "TipTap: drop", gesture="drop", never=PLACELESS, target="document.querySelector('.ProseMirror')"),
    framework("zone", "Zone.js (Angular): input"),
    framework("zone", "Zone.js (Angular): drop", gesture="drop"),
]  # fmt: skip


def site(name: str, what: str, quirk: str = "", **more) -> Case:
    return Case(name=what, page=f"pages/site.html?{name}", quirk=quirk, **more)


MIXED = ("eileen.jpg", "clip.mp4")
SITES = [
    site("facebook", "Facebook: input", "three hidden inputs with other filters; read at the document, and emptied in the event", files=MIXED),
    site("facebook", "Facebook: paste", gesture="paste"),
    site("instagram", "Instagram: input", "the input stands in a modal `<dialog>`, and is read when the person presses Next", then="#post", files=MIXED),
    site("x", "X: input", "hidden, `tabindex=-1`, emptied after the upload", files=MIXED),
    site("x", "X: paste", "listens on the document, reads the items", gesture="paste"),
    site("linkedin", "LinkedIn: input", "made on the press, in an open shadow root, removed afterwards"),
    site("reddit", "Reddit: input", "in a shadow root in a shadow root; the files go on in an event of the site's own"),
    site("threads", "Threads: input", "thumbnails from object URLs come before the upload"),
    site("bluesky", "Bluesky: input", "put into the page, clicked by a dispatched event, and taken out at once"),
    site("bluesky", "Bluesky: paste", gesture="paste"),
    site("pinterest", "Pinterest: input", "transparent, over the whole field"),
    site("pinterest", "Pinterest: drop", "lands on the transparent input", gesture="drop", target="document.getElementById('pick')"),
    site("tiktok", "TikTok: input", "in a frame; one input for videos, one for photos",
         target="document.querySelector('iframe').contentDocument.querySelectorAll('input')[1]"),
    site("tumblr", "Tumblr: input", "never enters the page"),
    site("vk", "VK: input", "read a moment after the event"),
    site("vk", "VK: drop", "listens on the window in the capture phase", gesture="drop"),
    site("discord", "Discord: input", "no filter: any file may go; emptied with `null`", files=MIXED),
    site("discord", "Discord: drop", "anywhere in the window, read as items", gesture="drop", files=MIXED),
    site("discord", "Discord: paste", gesture="paste"),
    site("whatsapp", "WhatsApp Web: input", "photos are read into memory, and what was read is sent"),
]  # fmt: skip

FUZZ = [route(f"fuzz&{seed}", f"listeners in the order that seed {seed} draws") for seed in range(6)]

GROUPS = {
    "Inputs": INPUTS,
    "How the page reads the file": READING,
    "Forms": FORMS,
    "Frames": FRAMES,
    "Drag and drop": DROPS,
    "Clipboard": CLIPBOARD,
    "File pickers": PICKERS,
    "Pages that meddle": MEDDLERS,
    "Orders of events": FUZZ,
    "Frameworks": FRAMEWORKS,
    "Replicas of sites": SITES,
}
CASES = [case for group in GROUPS.values() for case in group]
