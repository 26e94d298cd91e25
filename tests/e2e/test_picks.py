"""One choice of files: several, mixed, taken back, sent too early; and what a page may not do about it."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from stage import Card, mark

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = "document.getElementById('photo')"


@pytest.fixture
def guarded(fresh):
    return fresh.browser


@pytest.fixture
def daemon(fresh):
    return fresh.daemon


@pytest.fixture
def demo(fresh):
    return fresh.demo


@pytest_asyncio.fixture(loop_scope="module")
async def page(guarded, demo):
    return await guarded.open(demo.url("react"))


async def switch(browser, message, on):
    """Throws one of the popup's switches."""
    popup = await browser.open(browser.extension_url("popup/popup.html"))
    sent = await popup.evaluate(f"chrome.runtime.sendMessage({message % str(on).lower()})")
    assert "error" not in sent
    await popup.close()


async def send_too_early(page, photo, field=INPUT):
    """Presses the form's button while the photo chosen in a field is pending."""
    await page.choose(field, [photo])
    await Card(page).wait_for("Hiding the signatures")
    await page.click("document.querySelector('form button')")
    await Card(page).wait_for("Not sent yet")


async def test_a_photo_is_known_by_its_bytes_where_its_name_says_nothing(page, demo, photos, tmp_path):
    """As phones, sites and downloads name photos; what turns out to be none goes as it is."""
    photo, text = photos["eileen.jpg"].read_bytes(), b"not a photo"
    names = ["photo", "IMG_0001.HIF", "photo.jpg-large", "photo.jpg.1", "photo.jpg.bak", "photo.jpg.part"]
    files = {**dict.fromkeys(names, photo), "README": text}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    await page.choose(INPUT, [tmp_path / name for name in files])
    received = await demo.wait_for(len(files))
    assert list(files) == [file.name for file in received]
    assert [mark(photo)] * len(names) + [text] == [demo.bytes_of(file) for file in received]


async def test_a_file_that_only_may_be_a_photo_goes_without_a_card(page, demo, tmp_path):
    """A document without an ending is no business of PMask's."""
    (tmp_path / "Makefile").write_text("all:")
    await page.choose(INPUT, [tmp_path / "Makefile"])
    [file] = await demo.wait_for(1)
    assert (file.name, demo.bytes_of(file)) == ("Makefile", b"all:")
    assert await Card(page).text() == ""


async def test_files_without_a_photo_pass_untouched(page, demo, photos):
    """The browser's own event arrives, trusted, and nothing of PMask is seen."""
    await page.evaluate("addEventListener('change', (e) => { window.trusted = e.isTrusted }, true)")
    await page.choose(INPUT, [photos["notes.txt"], photos["clip.mp4"]])
    await demo.wait_for(2)
    assert await page.evaluate("window.trusted") is True
    assert await Card(page).text() == ""


async def test_the_page_sees_no_file_and_no_event_before(page, daemon, demo, photos):
    """Not even a listener that was registered first, or a look at the input in between, gets the original."""
    daemon.engine.seconds = 60
    await page.evaluate(
        "window.seen = [];"
        "for (const target of [window, document, document.getElementById('root'), document.getElementById('photo')])"
        " for (const type of ['input', 'change']) for (const capture of [true, false])"
        "  target.addEventListener(type, (e) => window.seen.push(e.target.files[0]?.size ?? 0), capture);"
        "window.picker = document.getElementById('photo');"
        "window.sizes = new Set(); setInterval(() => window.sizes.add(picker.files.length), 0)"
    )
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    assert [] == await page.evaluate("window.seen")
    assert [0] == await page.evaluate("[...window.sizes]")
    daemon.engine.hurry = 1
    await demo.wait_for(1)
    sizes = set(await page.evaluate("window.seen"))
    assert photos["eileen.jpg"].stat().st_size not in sizes


COLLECT = (  # as sites do that add one photo after the other
    "(() => { const input = document.getElementById('photo'), form = document.createElement('form');"
    "input.before(form); form.append(input); addEventListener('change', () => { %s }) })()"
)


@pytest.mark.parametrize("empty", ["", "input.value = ''", "form.reset()"])
async def test_choices_come_in_the_order_in_which_they_were_made(page, daemon, demo, photos, empty):
    """A page that collects gets every choice, however long the first takes, and a form ends with the last."""
    await page.evaluate(COLLECT % empty)
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.choose(INPUT, [photos["käthe.png"]])
    await page.choose(INPUT, [photos["notes.txt"]])
    daemon.engine.hurry = 2
    files = await demo.wait_for(3)
    assert ["eileen.jpg", "käthe.png", "notes.txt"] == [file.name for file in files]
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(files[0])


async def test_a_cancelled_choice_lets_the_next_one_go(page, daemon, demo, photos):
    """The first keeps the second waiting, but not for ever."""
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    daemon.engine.seconds = 0
    await page.choose(INPUT, [photos["notes.txt"]])
    await demo.stays_empty(0.5)
    await Card(page).press("Cancel")
    [file] = await demo.wait_for(1)
    assert file.name == "notes.txt"


@pytest.mark.parametrize("click", ["", "event.preventDefault(); event.target.showPicker()"], ids=["click", "picker"])
async def test_a_cancelled_choice_leaves_the_one_before_it(guarded, daemon, demo, photos, click):
    """As a dialog that is cancelled does: the page shows the first photo, and the form must send it."""
    page = await guarded.open(demo.url())
    await page.evaluate(f"{INPUT}.addEventListener('click', (event) => {{ {click} }})")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await page.wait_for(f"{INPUT}.files.length === 1")
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["third.webp"]])
    await Card(page).wait_for("Hiding the signatures")
    await Card(page).press("Cancel")
    await page.wait_for(f"{INPUT}.files[0]?.name === 'eileen.jpg'")
    await page.click("document.querySelector('form button')")
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def test_a_choice_that_is_cancelled_brings_nothing_back_that_the_page_had_emptied(page, daemon, demo, photos):
    """Many pages empty their input when it is clicked, so that the same photo can be chosen again."""
    await page.evaluate(f"{INPUT}.addEventListener('click', (event) => {{ event.target.value = '' }})")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["third.webp"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate(f"{INPUT}.addEventListener('cancel', () => {{ window.cancelled = true }})")
    await Card(page).press("Cancel")
    await page.wait_for("window.cancelled")
    assert await page.evaluate(f"{INPUT}.files.length") == 0


@pytest_asyncio.fixture(loop_scope="module")
async def in_a_form(page):
    """A form around the input, with a button that empties it, in a page that collects."""
    reset = "Object.assign(document.createElement('button'), { type: 'reset', textContent: 'x' })"
    await page.evaluate(f"{COLLECT % ''}; window.form = document.querySelector('form'); form.append({reset})")


@pytest.mark.usefixtures("in_a_form")
async def test_a_reset_form_gets_no_photo(page, daemon, demo, photos):
    """The person has started again, so what was chosen before must not come."""
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.click("document.querySelector('[type=reset]')")
    await Card(page).wait_gone()
    daemon.engine.seconds = 0
    await page.choose(INPUT, [photos["käthe.png"]])
    [file] = await demo.wait_for(1)
    assert file.name == "käthe.png"


@pytest.mark.usefixtures("in_a_form")
@pytest.mark.parametrize("by", ["form.reset()", "form.dispatchEvent(new Event('reset'))", "a button"])
async def test_a_form_that_nobody_emptied_gets_its_photo(page, daemon, demo, photos, by):
    """A page resets its form once a message is sent, or keeps the person from it: no photo gets lost."""
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    if by == "a button":
        await page.evaluate("addEventListener('reset', (event) => event.preventDefault())")
        await page.click("document.querySelector('[type=reset]')")
    else:
        await page.evaluate(by)
    daemon.engine.hurry = 1
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def test_a_field_that_was_taken_away_is_said(page, daemon, photos):
    """Its listener may be gone with it: the card must not say that all is well, and nothing more."""
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate(f"window.field = {INPUT}; field.outerHTML = field.outerHTML")
    daemon.engine.hurry = 1
    await Card(page).wait_for("The page took the field away")
    assert await page.evaluate("field.files.length") == 1, "who holds the field itself has the photo"


async def test_leaving_one_photo_out(page, demo, photos):
    """One bad photo of several need not stop the others."""
    await page.choose(INPUT, [photos["eileen.jpg"], photos["broken.jpg"]])
    await Card(page).wait_for("A photo was not uploaded")
    await demo.stays_empty(0.5)
    await Card(page).press("Leave out")
    [file] = await demo.wait_for(1)
    assert file.name == "eileen.jpg"


async def test_the_form_is_held_while_a_photo_is_pending(guarded, daemon, demo, photos):
    """Sent too early, it would go without its photo: by click, by script, or by an event that the page makes up."""
    page = await guarded.open(demo.url())
    daemon.engine.seconds = 60
    await page.evaluate(
        "window.submits = 0;"
        "document.getElementById('form').addEventListener('submit', () => { window.submits += 1 }); true"
    )
    await send_too_early(page, photos["eileen.jpg"])
    await page.evaluate("document.getElementById('form').submit()")
    await page.evaluate("document.getElementById('form').dispatchEvent(new Event('submit', { cancelable: true }))")
    assert await page.evaluate("window.submits") == 0
    assert demo.url() == await page.evaluate("location.href")
    daemon.engine.hurry = 1
    await page.wait_for("document.getElementById('photo').files.length === 1")
    await page.click("document.querySelector('form button')")
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def test_a_form_is_told_that_a_photo_waits_for_the_person(guarded, daemon, demo, photos):
    """Told that it is still being protected, one would wait for ever."""
    page = await guarded.open(demo.url())
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    await page.click("document.querySelector('form button')")
    await Card(page).wait_for("Not sent yet: a photo is waiting for your decision.")


async def test_a_form_waits_for_the_photo_of_a_component(guarded, daemon, demo, photos):
    """Its input stands in a shadow root, and belongs to no form by itself."""
    page = await guarded.open(demo.url())
    daemon.engine.seconds = 30
    await page.evaluate(
        "document.body.innerHTML = '<form><div><p></p></div><button>Send</button></form>';"
        "document.querySelector('p').attachShadow({ mode: 'open' }).innerHTML = '<p></p>';"
        "window.inner = document.querySelector('p').shadowRoot.firstChild.attachShadow({ mode: 'open' });"
        "inner.innerHTML = '<input type=file>'; document.forms[0].onsubmit = () => { window.sent = true }"
    )
    await send_too_early(page, photos["eileen.jpg"], "inner.firstChild")
    assert not await page.evaluate("window.sent")


async def test_a_field_that_must_be_filled_is_held_too(guarded, daemon, demo, photos):
    """The browser would ask for the photo that has been chosen already, and there would be no submit to hold."""
    page = await guarded.open(demo.url())
    daemon.engine.seconds = 30
    await page.evaluate(f"{INPUT}.required = true; {INPUT}.oninvalid = () => {{ window.invalid = true }}")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Hiding the signatures")
    # Pages ask at each letter, and show by it whether the button may be pressed.
    assert not await page.evaluate(f"{INPUT}.checkValidity() || {INPUT}.form.checkValidity()")
    assert "Not sent yet" not in await card.text()
    await page.click("document.querySelector('form button')")
    await card.wait_for("Not sent yet")
    assert not await page.evaluate("window.invalid")


async def test_a_dialog_closes_while_a_photo_is_pending(guarded, daemon, demo, photos):
    """Its form sends nothing. But a page that takes the photo when the dialog closes gets none, and that is said."""
    page = await guarded.open(demo.url())
    daemon.engine.seconds = 60
    await page.evaluate(
        "document.body.innerHTML = '<dialog><form method=dialog><input type=file id=photo><button>x</button></form>';"
        "document.body.firstChild.showModal()"
    )
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.click("document.querySelector('form button')")
    await page.wait_for("!document.body.firstChild.open")
    daemon.engine.hurry = 1
    await Card(page).wait_for("The page took the field away")


async def test_a_form_that_is_read_too_early_is_said(guarded, daemon, demo, photos):
    """A page that sends `FormData` of its own accord sends it without the photo, and no browser lets us hold that."""
    page = await guarded.open(demo.url())
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await page.evaluate("new FormData(document.getElementById('form')).get('photo').size")
    await Card(page).wait_for("Not sent yet")
    daemon.engine.hurry = 1
    await page.wait_for("document.getElementById('photo').files.length === 1")


@pytest.mark.parametrize(
    "message", ["{name: 'set', values: {enabled: %s}}", "{name: 'setSite', site: 'demo', on: %s}"], ids=["all", "site"]
)
async def test_switched_off_means_untouched(guarded, demo, photos, message):
    """Off is off: the original goes, the event is the browser's own; a page that is open hears of the switch."""
    page = await guarded.open(demo.url("react"))
    await switch(guarded, message, False)
    await page.evaluate("addEventListener('change', (e) => { window.trusted = e.isTrusted }, true)")
    await page.press(5, 5)  # a person is there some time before the dialog is done with
    await asyncio.sleep(0.5)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    [file] = await demo.wait_for(1)
    assert photos["eileen.jpg"].read_bytes() == demo.bytes_of(file)
    assert await page.evaluate("window.trusted") is True
    await switch(guarded, message, True)
    await asyncio.sleep(0.5)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(2)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(demo.received[1])


async def test_a_page_cannot_forge_the_bridge(page, daemon, demo, photos):
    """A page that offers a line of its own, or patches what the guard needs, learns nothing."""
    daemon.engine.seconds = 60
    await page.evaluate(
        "window.heard = [];"
        "(() => { const { port1, port2 } = new MessageChannel();"
        " port1.onmessage = (e) => window.heard.push('port');"
        " window.dispatchEvent(new MessageEvent('pmask-line', { ports: [port2] }));"
        " port1.postMessage({ name: 'state', on: false });"
        " const spy = (proto, name) => { const own = Object.getOwnPropertyDescriptor(proto, name);"
        "  const part = own.value ? 'value' : own.set ? 'set' : 'get'; const native = own[part];"
        "  Object.defineProperty(proto, name, { ...own, [part](...args) {"
        "   if (!(name === 'files' && part === 'set')) window.heard.push(name); return native.apply(this, args) } }) };"
        " for (const name of ['postMessage', 'start']) spy(MessagePort.prototype, name);"
        " spy(FileList.prototype, 'item');"
        " spy(DataTransferItemList.prototype, 'add'); spy(WeakMap.prototype, 'set');"
        " spy(Event.prototype, 'composedPath');"
        "})()"
    )
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    assert [] == await page.evaluate("window.heard")
    daemon.engine.hurry = 1
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    assert await page.evaluate("typeof __pmask") == "undefined"


async def test_under_the_strictest_policy(guarded, demo, photos):
    """CSP and Trusted Types of the page do not touch the guard or the card."""
    page = await guarded.open(demo.url("react?csp=strict"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    await Card(page).wait_for("2 faces protected")
    style = "function () { const { position } = getComputedStyle(this.getRootNode().host); return position }"
    assert await Card(page).ask(style) == "fixed"


async def test_the_strength_reaches_the_daemon(guarded, daemon, demo, photos):
    """The slider is no ornament."""
    options = await guarded.open(guarded.extension_url("options/options.html"))
    await options.evaluate("chrome.runtime.sendMessage({name: 'set', values: {delta: 2.5}})")
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    assert [2.5] == [options.delta for options in daemon.engine.options]


async def test_a_popup_that_never_leaves_its_first_document_is_looked_after(page, demo, photos):
    """Browsers put no scripts there; its opener fills it."""
    await page.evaluate(
        "document.body.insertAdjacentHTML('afterbegin', '<button id=open>Open</button>'); window.send = (files) => {"
        " const form = new FormData(); form.append('photo', files[0]);"
        " fetch('/pmask-demo/upload', { method: 'POST', body: form }) };"
        "document.getElementById('open').onclick = () => { window.opened = open('javascript:false', '', 'width=300');"
        " setTimeout(() => { opened.document.body.innerHTML ="
        " '<input type=file onchange=opener.send(this.files)>' }, 100) }"
    )
    await page.click("document.getElementById('open')")
    inside = "window.opened?.document.querySelector('input')"
    await page.wait_for(f"{inside} ? true : false")
    await page.set_files(inside, [photos["eileen.jpg"]])
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    await page.evaluate("window.opened.close()")
