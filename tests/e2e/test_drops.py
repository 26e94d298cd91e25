"""What a drop or a paste may meet, beside the ways that `test_routes` plays."""

from __future__ import annotations

import asyncio
import base64

import pytest
import pytest_asyncio
from stage import Card, mark

pytestmark = pytest.mark.asyncio(loop_scope="module")

ZONE = "document.getElementById('zone')"


@pytest.fixture
def guarded(fresh):
    return fresh.browser


@pytest.fixture
def daemon(fresh):
    return fresh.daemon


@pytest.fixture
def demo(fresh):
    return fresh.demo


async def drop(page, files):
    """A real drag of files over the zone, let go there."""
    x, y = await page.evaluate(f"(() => {{ const b = {ZONE}.getBoundingClientRect(); return [b.x + 20, b.y + 20] }})()")
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await page.call("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})


async def paste(page, photo):
    """A real Ctrl+V with the photo (as PNG: browsers copy no other) on the clipboard."""
    encoded = base64.b64encode(photo.read_bytes()).decode()
    await page.click(ZONE)
    await page.evaluate(
        f"fetch('data:image/png;base64,{encoded}').then((r) => r.blob())"
        ".then((b) => navigator.clipboard.write([new ClipboardItem({ 'image/png': b })])).then(() => true)"
    )
    key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
    await page.call("Input.dispatchKeyEvent", {"type": "keyDown", "commands": ["paste"], **key})
    await page.call("Input.dispatchKeyEvent", {"type": "keyUp", **key})


@pytest_asyncio.fixture(loop_scope="module")
async def page(guarded, demo):
    await guarded.line.call(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    return await guarded.open(demo.url("drop"))


async def test_a_drop_while_the_daemon_is_off(page, daemon, demo, photos):
    """Fails closed, like a pick."""
    await daemon.stop()
    await drop(page, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    await demo.stays_empty()


async def test_a_dropped_folder_is_stopped_with_words(page, demo, photos):
    """Its photos could not be protected one by one, and must not go in silence."""
    await page.evaluate("addEventListener('dragleave', () => { window.left = true })")
    await drop(page, [photos["eileen.jpg"].parent])
    await Card(page).wait_for("Folders are not protected")
    await demo.stays_empty()
    assert await page.evaluate("window.left"), "the page still shows where to drop"


# A page that listens far above what it draws, as frameworks have it; to pastes the demo listens there itself.
DELEGATES = (
    "addEventListener('dragover', (event) => event.preventDefault());"
    "addEventListener('drop', (event) => { event.preventDefault(); const form = new FormData();"
    " form.append('photo', event.dataTransfer.files[0]);"
    " fetch('/pmask-demo/upload', { method: 'POST', body: form }) });"
    f"window.redraw = () => {{ {ZONE}.outerHTML = {ZONE}.outerHTML }};"
    "redraw()"  # takes the demo's own listener to drops away
)


@pytest.mark.parametrize("give", [drop, lambda page, files: paste(page, files[0])], ids=["drop", "paste"])
async def test_a_page_that_drew_itself_anew_gets_the_photo(page, daemon, demo, photos, give):
    """What the photo was for is gone by the time that it is protected, but not who listens."""
    await page.evaluate(DELEGATES)
    daemon.engine.seconds = 60
    await give(page, [photos["käthe.png"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate("redraw()")
    daemon.engine.hurry = 1
    [file] = await demo.wait_for(1)
    assert mark(demo.bytes_of(file)) == demo.bytes_of(file)


async def test_a_page_that_moved_on_is_said(page, daemon, demo, photos):
    """The photo may have gone to another conversation than the one that it was dropped in."""
    daemon.engine.seconds = 60
    await drop(page, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate("history.pushState({}, '', '?elsewhere')")
    daemon.engine.hurry = 1
    await Card(page).wait_for("The page has moved on")
    await demo.wait_for(1)


async def copy_cells(page, photo):
    """Puts on the clipboard what a spreadsheet does: text, markup, and a picture of both."""
    await page.copy_image(photo)  # asks for the right to
    encoded = base64.b64encode(photo.read_bytes()).decode()
    await page.evaluate(
        f"fetch('data:image/png;base64,{encoded}').then((r) => r.blob()).then((png) => navigator.clipboard.write("
        "[new ClipboardItem({'image/png': png, 'text/plain': new Blob(['A1'], {type: 'text/plain'}),"
        " 'text/html': new Blob(['<b>A1</b>'], {type: 'text/html'})})])).then(() => true)"
    )


@pytest.mark.parametrize("field", ["<textarea></textarea>", "<input>", "<div contenteditable>.</div>"])
async def test_text_that_comes_with_a_picture_is_pasted(guarded, demo, photos, field):
    """As the browser does where the page leaves a paste alone: who copies cells wants their text."""
    page = await guarded.open(demo.url())
    await page.evaluate(f"document.body.innerHTML = {field!r}")
    await copy_cells(page, photos["käthe.png"])
    await page.click("document.body.firstChild")
    await page.paste()
    await page.wait_for("/A1/.test(document.body.firstChild.value ?? document.body.firstChild.textContent)")
    assert await page.evaluate("document.images.length") == 0


async def test_neither_markup_nor_text_brings_an_original(guarded, demo, photos):
    """A picture that is copied from a page comes as a file and as markup or text, which may hold its bytes."""
    page = await guarded.open(demo.url())
    encoded = base64.b64encode(photos["käthe.png"].read_bytes()).decode()
    await page.copy_image(photos["käthe.png"])
    await page.evaluate(
        f"fetch('data:image/png;base64,{encoded}').then((r) => r.blob()).then((png) => navigator.clipboard.write("
        "[new ClipboardItem({'image/png': png, 'text/html': new Blob("
        f"['<img src=\"data:image/png;base64,{encoded}\">'], {{type: 'text/html'}}),"
        f"'text/plain': new Blob(['data:image/png;base64,{encoded}'], {{type: 'text/plain'}})}})])).then(() => true)"
    )
    await page.evaluate(
        "document.body.onpaste = ({ clipboardData }) => { window.html = clipboardData.getData('text/html');"
        " window.files = clipboardData.files.length }, document.body.innerHTML = '<textarea></textarea>'"
    )
    await page.click("document.body.firstChild")
    await page.paste()
    await page.wait_for("window.files === 1")
    assert await page.evaluate("window.html") == ""
    assert await page.evaluate("document.body.firstChild.value") == ""
    for kind in ("text/html", "text/plain"):
        read = f"navigator.clipboard.read().then(([item]) => item.getType('{kind}')).then((blob) => blob.text())"
        assert await page.evaluate(read) == ""


async def test_text_is_pasted_without_the_picture_that_failed(guarded, daemon, demo, photos):
    """With the daemon off, cells of a table can still be copied and pasted."""
    page = await guarded.open(demo.url())
    await page.evaluate("document.body.innerHTML = '<textarea></textarea>'")
    await copy_cells(page, photos["käthe.png"])
    await daemon.stop()
    await page.click("document.body.firstChild")
    await page.evaluate(
        "addEventListener('paste', ({ clipboardData }) => { window.files = clipboardData.files.length })"
    )
    await page.paste()
    await Card(page).wait_for("not running")
    await Card(page).press("Cancel")
    await page.wait_for("document.body.firstChild.value === 'A1'")
    assert await page.evaluate("window.files") == 0


@pytest_asyncio.fixture(loop_scope="module")
async def editors(guarded, daemon, demo, photos):
    """A page of two editors, with a photo pasted into the first one that takes until it is hurried."""
    page = await guarded.open(demo.url())
    await page.evaluate("document.body.innerHTML = '<p contenteditable>one</p><p contenteditable>two</p>'")
    daemon.engine.seconds = 60
    await page.copy_image(photos["käthe.png"])
    await page.click("document.body.firstChild")
    await page.paste()
    await Card(page).wait_for("Hiding the signatures")
    return page


async def test_a_pasted_photo_stays_where_it_was_pasted(editors, daemon):
    """The person writes on somewhere else meanwhile, and is not disturbed there."""
    page = editors
    await page.click("document.body.lastChild")
    daemon.engine.hurry = 1
    await page.wait_for("document.images.length === 1")
    assert await page.evaluate("document.body.firstChild.contains(document.images[0])")
    await page.call("Input.insertText", {"text": "three"})
    assert "three" in await page.evaluate("document.body.lastChild.textContent")


async def test_a_photo_pasted_in_a_shadow_root_stays_there(guarded, daemon, photos, demo):
    """Of the caret there Chromium's document tells nothing; and what the person writes elsewhere stays theirs."""
    page = await guarded.open(demo.url())
    await page.evaluate(
        "document.body.innerHTML = '<div></div><textarea></textarea>';"
        "window.editor = document.createElement('p'); editor.contentEditable = 'true'; editor.textContent = 'one';"
        "document.body.firstChild.attachShadow({ mode: 'open' }).append(editor)"
    )
    daemon.engine.seconds = 60
    await page.copy_image(photos["käthe.png"])
    await page.press(*await page.middle_of("editor"))
    await page.paste()
    await Card(page).wait_for("Hiding the signatures")
    await page.click("document.body.lastChild")
    await page.call("Input.insertText", {"text": "three"})
    daemon.engine.hurry = 1
    await page.wait_for("editor.querySelectorAll('img').length === 1")
    await page.call("Input.insertText", {"text": ", four"})
    assert await page.evaluate("document.body.lastChild.value") == "three, four"


@pytest.mark.parametrize(
    "before, caret, after",
    [(["old", 0, 3], 3, "A1 on"), (["one two", 3, 3], 3, "oneA1 on two"), (["one two", 3, 3], 0, " ononeA1 two")],
    ids=["selected", "at the caret", "in front of it"],
)
async def test_pasted_text_lands_where_it_was_pasted(guarded, daemon, photos, demo, before, caret, after):
    """The person writes on meanwhile, in the same field, and goes on where they are."""
    page = await guarded.open(demo.url())
    text, start, end = before
    await page.evaluate(
        f"document.body.innerHTML = '<textarea>{text}</textarea>'; window.field = document.body.firstChild"
    )
    daemon.engine.seconds = 60
    await copy_cells(page, photos["käthe.png"])
    await page.click("field")
    await page.evaluate(f"field.setSelectionRange({start}, {end})")
    await page.paste()
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate(f"field.setSelectionRange({caret}, {caret})")
    await page.call("Input.insertText", {"text": " o"})
    daemon.engine.hurry = 1
    await page.wait_for("field.value.includes('A1')")
    await page.call("Input.insertText", {"text": "n"})
    assert after == await page.evaluate("field.value")


async def test_a_pasted_photo_whose_field_is_gone_is_said(editors, daemon):
    """It must land nowhere else, and not be lost without a word."""
    page = editors
    await page.evaluate("document.body.firstChild.remove()")
    daemon.engine.hurry = 1
    await Card(page).wait_for("The page took the field away")
    assert await page.evaluate("document.images.length") == 0


async def test_a_clipboard_item_that_is_asked_twice_is_one_photo(guarded, daemon, demo, photos):
    """Two listeners of a page need not know of each other; the person sees one photo."""
    page = await guarded.open(demo.url())
    await page.copy_image(photos["käthe.png"])
    await page.evaluate(
        "document.body.onclick = async () => { const [item] = await navigator.clipboard.read();"
        " window.blobs = await Promise.all([0, 1].map(() => item.getType('image/png'))) }, 0"
    )
    await page.click("document.body")
    await page.wait_for("window.blobs?.length === 2 && blobs[0].size > 0 && blobs[0].size === blobs[1].size")
    assert daemon.engine.started == 1


async def test_a_drop_comes_after_the_choice_before_it(guarded, daemon, demo, photos):
    """An input's last photo is the one that it got last."""
    page = await guarded.open(demo.url("react"))
    await page.evaluate("document.getElementById('photo').id = 'zone'")
    daemon.engine.seconds = 60
    await page.choose(ZONE, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await drop(page, [photos["third.webp"]])
    daemon.engine.hurry = 2
    files = await demo.wait_for(2)
    assert ["eileen.jpg", "third.webp"] == [file.name for file in files]


async def test_a_picture_of_the_page_is_moved_as_ever(page, demo, photos):
    """Chromium puts its file into the drag, but nobody uploads it; the next drag from outside is one again."""
    encoded = base64.b64encode(photos["käthe.png"].read_bytes()).decode()
    await page.evaluate(
        f"document.body.prepend(Object.assign(new Image(), {{width: 90, src: 'data:image/png;base64,{encoded}'}}));"
        "addEventListener('drop', ({ isTrusted }) => { window.trusted = isTrusted }, true)"
    )
    x, y = await page.middle_of("document.images[0]")
    await page.call("Input.setInterceptDrags", {"enabled": True})
    mouse = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
    async with page._line.event("Input.dragIntercepted", page.session) as dragged:
        await page.call("Input.dispatchMouseEvent", {"type": "mousePressed", **mouse})
        for step in (5, 15, 25):
            await page.call("Input.dispatchMouseEvent", {"type": "mouseMoved", **mouse, "x": x + step})
        data = (await asyncio.wait_for(dragged, 15))["data"]
    await page.call("Input.setInterceptDrags", {"enabled": False})
    data["files"] = [str(photos["käthe.png"])]  # which the browser adds where nobody intercepts
    x, y = await page.middle_of(ZONE)
    for kind in ("dragEnter", "dragOver", "drop"):
        await page.call("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    await demo.wait_for(1)
    assert await page.evaluate("window.trusted") is True
    assert await Card(page).text() == ""
    await drop(page, [photos["eileen.jpg"]])
    [_, file] = await demo.wait_for(2)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
