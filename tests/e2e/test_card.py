"""The card on the page: what it shows, what can be done with it, by mouse, keyboard and screen reader, and what a page
cannot do to it."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from PIL import Image
from stage import Card, box_of, mark, until

from pmask.errors import OutOfMemory

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = "document.getElementById('photo')"
CORNER = "function () { return [...this.querySelector('.view canvas').getContext('2d').getImageData(3, 3, 1, 1).data] }"
MARK = [255, 0, 255]
FOCUSED = "function () { const f = this.getRootNode().activeElement; return f?.ariaLabel || f?.textContent }"


@pytest_asyncio.fixture(loop_scope="module")
async def page(fresh):
    """A fresh page of the demo site."""
    return await fresh.browser.open(fresh.demo.url("react"))


@pytest.fixture
def daemon(stage):
    return stage.daemon


@pytest.fixture
def demo(stage):
    return stage.demo


async def mouse(page, kind, place):
    params = {"type": kind, "x": place[0], "y": place[1], "button": "left", "buttons": 1, "clickCount": 1}
    await page.call("Input.dispatchMouseEvent", params)


async def key(page, name, kind="keyDown"):
    codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
    code = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": codes[name]}
    await page.call(
        "Input.dispatchKeyEvent",
        {"type": kind, **code, **({"text": {" ": " ", "Enter": "\r"}[name]} if name in " Enter" else {})},
    )


async def go_to(card, label):
    """The keyboard on a button of the card, as Tab brings it there."""
    await card.ask(
        f"function () {{ [...this.querySelectorAll('button')].find((b) => b.textContent === {label!r})"
        ".focus({ focusVisible: true }) }"
    )


async def press_by_key(page, card, label):
    """Space on a button, and not yet let go."""
    await go_to(card, label)
    await key(page, " ")


async def test_faces_progress_and_time_left(page, daemon, photos):
    """A photo takes seconds to minutes: whoever waits wants to know for how long."""
    daemon.engine.seconds = 20
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    assert "2 faces" in await card.wait_for(" s left")
    now = await card.ask("function () { return Number(this.querySelector('.bar').getAttribute('aria-valuenow')) }")
    assert 0 < now < 100
    drawn = "function () { return this.querySelector('.thumb').getContext('2d').getImageData(44, 44, 1, 1).data[3] }"
    assert 255 == await card.ask(drawn)


async def test_one_of_several_is_left_out_and_the_other_goes(page, daemon, demo, photos):
    """Cancelling one photo leaves the rest alone."""
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    card = Card(page)
    await card.wait_for("0 of 2 done")
    await card.wait_for("Hiding the signatures")
    await card.press("Leave out")
    daemon.engine.hurry = 2
    [file] = await demo.wait_for(1)
    assert "käthe.png" == file.name


async def test_a_copy_with_a_bare_face_is_not_praised(page, fresh, photos):
    """Somebody was left out of it; whoever posts it later may not know. In the card, and in the popup's list."""
    fresh.daemon.engine.bare = 1
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("PMask protected this photo before, but not all of its faces")
    assert "warn" == await card.ask("function () { return this.querySelector('li').className }")
    popup = await fresh.browser.open(fresh.browser.extension_url("popup/popup.html"))
    await popup.wait_for("document.querySelector('#results li') !== null")
    shown = "(({ className, innerText }) => [className, innerText])(document.querySelector('#results li'))"
    tone, words = await popup.evaluate(shown)
    assert ("warn", True) == (tone, words.startswith("PMask protected this photo before, but not all of its faces"))


async def test_before_and_after_while_held(page, photos):
    """The original shows while the mouse, or a key, is down, and no longer."""
    await page.choose(INPUT, [photos["käthe.png"]])
    card = Card(page)
    await card.wait_for("Upload the original this once")  # the last button that comes
    await card.press("Compare")
    await card.wait_for("Hold to see the original")
    whole = "function () { const { width, height } = this.querySelector('.view canvas'); return width / height }"
    assert 1.3 < await card.ask(whole) < 1.7, "the view is cut around the face"
    place = await card.place("Hold to see the original")
    picture = [place[0], place[1] - 120]
    for down, up in (
        (lambda: mouse(page, "mousePressed", place), lambda: mouse(page, "mouseReleased", place)),
        (lambda: mouse(page, "mousePressed", picture), lambda: mouse(page, "mouseReleased", picture)),
        (lambda: press_by_key(page, card, "Hold to see the original"), lambda: key(page, " ", "keyUp")),
    ):
        protected = await card.ask(CORNER)
        assert "Protected" in await card.text()
        await down()
        await card.wait_for("Original")
        original = await card.ask(CORNER)
        await up()
        await card.wait_for("Protected")
        assert protected == await card.ask(CORNER)
        assert protected != original
    await card.press("Close the comparison")
    assert "Hold to see" not in await card.text()


async def test_the_keyboard_goes_into_the_comparison_and_comes_back(page, photos):
    """Escape leaves the comparison first, then the card; no button that goes takes the keyboard with it."""
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Upload the original this once")  # the last button that comes
    await go_to(card, "Compare")
    await key(page, "Enter")
    await card.wait_for("Hold to see the original")
    assert "Hold to see the original" == await card.ask(FOCUSED)
    await key(page, "Escape")
    assert "Hold to see" not in await card.text()
    assert "Compare" == await card.ask(FOCUSED)
    await go_to(card, "Upload the original this once")
    await key(page, "Enter")
    await card.wait_for("Choose the photo again")
    assert "Compare" == await card.ask(FOCUSED)
    await key(page, "Escape")
    await card.wait_gone()


async def test_each_face_of_each_photo_can_be_looked_at(stage, page, daemon, photos):
    """Whoever is asked to judge must see all that was changed, and of which photo."""
    await stage.put(review="always")
    daemon.engine.faces = 3
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    card = Card(page)
    await card.wait_for("Upload all that are ready")
    await card.press("Compare")  # the first
    await card.wait_for("Face 1 of 3")
    await card.press("Next part")
    said = await card.wait_for("Face 2 of 3")
    assert "Protected · eileen.jpg" in said
    assert ["eileen.jpg"] == await card.ask(
        "function () { return [...this.querySelectorAll('[aria-current] .name')].map((name) => name.textContent) }"
    )
    await card.press("Next part")
    await card.wait_for("Face 3 of 3")
    await card.press("Next part")
    await card.wait_for("Whole photo")
    whole = "function () { const { width, height } = this.querySelector('.view canvas'); return width / height }"
    assert 1 == await card.ask(whole)


async def test_a_photo_that_goes_before_it_is_drawn_is_not_shown(stage, page, demo, photos, tmp_path):
    """Large photos take long to decode: a comparison that opened afterwards would keep the card for ever."""
    large = tmp_path / "large.jpg"
    Image.effect_noise((7000, 5000), 80).convert("RGB").save(large)
    await stage.put(review="always")
    await page.choose(INPUT, [large])
    card = Card(page)
    await card.wait_for("Upload it")
    await page.press(*await card.place("Upload it"))
    await card.wait_for("Upload the original this once")
    assert not await card.ask("function () { return this.querySelector('.view').checkVisibility() }")
    await asyncio.sleep(2)
    assert not await card.ask("function () { return this.querySelector('.view').checkVisibility() }")
    await demo.wait_for(1)


async def test_a_photo_that_the_browser_cannot_show(stage, page, photos):
    """Its look says so, where it can be read."""
    await stage.put(review="always")
    await page.choose(INPUT, [photos["phone.heic"]])
    card = Card(page)
    said = await card.wait_for("This browser cannot show this kind of photo.")
    assert "Hold to see" not in said
    room = (
        "function () {"
        " const said = [...this.querySelectorAll('.view *')].findLast((e) => e.textContent.startsWith('This'));"
        " return said.parentNode.offsetHeight - said.offsetHeight }"
    )
    assert 0 <= await card.ask(room), "it is cut off"


@pytest.mark.parametrize("where", ["a site", "the welcome"])
async def test_from_the_comparison_to_the_settings(stage, page, photos, where):
    """Whoever finds the change too much, or the protection too little, finds the choice where that is seen."""
    if where == "the welcome":
        page = await stage.browser.open(stage.browser.extension_url("welcome/welcome.html"))
        await page.wait_for(f"!{INPUT}.disabled")
        await page.set_files(INPUT, [photos["eileen.jpg"]])
    else:
        await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Compare")
    await card.press("Compare")
    await card.wait_for("Change it less, or hide it better")
    await stage.options.goto("about:blank")  # settings that are open already would only come to the front
    await card.press("Change it less, or hide it better")
    url = stage.browser.extension_url("options/options.html")

    async def is_open():
        return url in [target["url"] for target in (await stage.browser.line.call("Target.getTargets"))["targetInfos"]]

    await until(is_open)


async def test_the_protected_copy_can_be_saved(stage, page, photos, tmp_path):
    """For pages that take no file from an extension, and for the person's own album: the very bytes."""
    params = {"behavior": "allow", "downloadPath": str(tmp_path), "eventsEnabled": True}
    await stage.browser.line.call("Browser.setDownloadBehavior", params)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Upload the original this once")  # the last button that comes
    await card.press("Save protected copy")
    saved = tmp_path / "eileen.protected.jpg"
    await until(lambda: saved.exists() and saved.stat().st_size)
    assert mark(photos["eileen.jpg"].read_bytes()) == saved.read_bytes()


async def test_the_original_this_once(page, demo, photos):
    """On the person's word this photo goes as it is, once: not another one, and not twice."""
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Upload the original this once")  # the last button that comes
    await card.press("Upload the original this once")
    await card.wait_for("Choose the photo again")
    for count, name in enumerate(["käthe.png", "eileen.jpg", "eileen.jpg"], 2):
        await page.choose(INPUT, [photos[name]])
        await demo.wait_for(count)
    original = photos["eileen.jpg"].read_bytes()
    expected = [mark(original), mark(photos["käthe.png"].read_bytes()), original, mark(original)]
    assert expected == [demo.bytes_of(file) for file in demo.received]


async def test_the_person_chooses_the_faces(stage, page, daemon, demo, photos):
    """Asked, the card shows the faces found; the daemon is told which one to leave as it is."""
    await stage.put(faces="ask")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Which faces should be protected?")
    await demo.stays_empty(0.5)
    await card.press("Face 2")
    await card.press("Face 1")
    under = (
        "function () { const { x, y } = this.querySelector('.faces input').getBoundingClientRect();"
        " return this.getRootNode().elementFromPoint(x + 9, y + 9).localName }"
    )
    assert "input" == await card.ask(under), "the picture lies over the box"
    assert "Choose at least one face" in await card.text()
    await card.press("Face 1")
    await card.press("Protect 1 face")
    await demo.wait_for(1)
    look, job = daemon.engine.options
    assert (True, ()) == (look.look, look.leave_out)
    assert (False, (tuple(box_of(1)),)) == (job.look, job.leave_out)
    await card.wait_for("1 face protected")


async def test_all_faces_may_be_left_ticked(stage, page, daemon, demo, photos):
    """The common case is one press, and asks no second time."""
    await stage.put(faces="ask")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Which faces should be protected?")
    await Card(page).press("Protect 2 faces")
    await demo.wait_for(1)
    assert [(True, ()), (False, ())] == [(options.look, options.leave_out) for options in daemon.engine.options]


@pytest.mark.parametrize("kind", ["gif", "avif"])
async def test_each_face_of_a_film_is_shown_in_its_own_frame(stage, page, daemon, tmp_path, kind):
    """In a slideshow people come to one place: of two tiles of the first slide, unticking one leaves anybody bare."""
    await stage.put(faces="ask")
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    first, *rest = (Image.new("RGB", (400, 300), colour) for colour in colours)
    first.save(tmp_path / f"film.{kind}", save_all=True, append_images=rest, duration=80)
    daemon.engine.faces, daemon.engine.frames = 3, (2, 0, 1)
    await page.choose(INPUT, [tmp_path / f"film.{kind}"])
    card = Card(page)
    assert "Frame 3\nFrame 1\nFrame 2" in await card.wait_for("Which faces should be protected?")
    middles = (
        "function () { return [...this.querySelectorAll('.faces canvas')]"
        ".map((tile) => tile.getContext('2d').getImageData(56, 56, 1, 1).data.findIndex((level) => level > 150)) }"
    )
    drawn = f"function () {{ return String(({middles}).call(this)) === '2,0,1' }}"
    await until(lambda: card.ask(drawn))  # frames are decoded one after another
    await card.press("Face 1, Frame 3")
    assert "Protect 2 faces" in await card.text()


async def test_the_person_looks_first(stage, page, daemon, demo, photos):
    """If set so, the page gets a photo when the person says so, who may have it changed less or hidden better."""
    await stage.put(review="always")
    await page.choose(INPUT, [photos["käthe.png"]])
    card = Card(page)
    said = await card.wait_for("Hold to see the original")  # in large by itself
    assert "Have a look before it goes up" in said
    assert "2 faces protected · waiting for you" in said
    assert "Hide better" not in said, "nothing is stronger than Strong"
    assert "Change it less, or hide it better" not in said, "that button is for photos that are gone"
    await card.press("Change less")
    await card.wait_for("Hide better")
    await demo.stays_empty(0.5)
    await card.press("Change less")
    said = await card.wait_for("Hide better")
    assert "Change less" not in said, "nothing is finer than Fine"
    await card.press("Upload it")
    await demo.wait_for(1)
    assert [0.017, 0.0125, 0.0085] == [options.omega for options in daemon.engine.options]
    assert mark(photos["käthe.png"].read_bytes()) == demo.bytes_of(demo.received[0])
    said = await card.wait_for("Upload the original this once")
    assert "Hold to see the original" not in said, "what was looked at is put away"


async def test_many_are_looked_at_first(stage, page, demo, photos):
    """One is left out, the others go by one press; photos without faces need no look."""
    await stage.put(review="always")
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    card = Card(page)
    said = await card.wait_for("Look at 2 photos before they go up")
    assert "Upload all that are ready" in said
    assert "Hold to see the original" not in said
    await card.press("Accept it")  # the first
    await card.wait_for("Have a look before it goes up")
    await card.wait_for("2 faces protected · goes up with the others")
    await demo.stays_empty(0.5)  # the page gets them together
    await card.press("Leave out")
    [file] = await demo.wait_for(1)
    assert "goes up with the others" not in await card.text()
    assert ("eileen.jpg", mark(photos["eileen.jpg"].read_bytes())) == (file.name, demo.bytes_of(file))
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    await card.wait_for("Upload all that are ready")
    await card.press("Upload all that are ready")
    assert 3 == len(await demo.wait_for(3))


async def test_originals_never(stage, page, daemon, demo, photos):
    """Where it is set so, no button lets an original go."""
    await stage.put(originals="never")
    await asyncio.sleep(0.3)
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    said = await card.wait_for("Originals are never uploaded")
    assert "Upload the original" not in said
    await card.press("Cancel")
    await card.wait_gone()
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    said = await card.wait_for("Try all again")
    assert "Upload the original" not in said
    await card.press("Cancel and close")
    await daemon.start()
    await page.choose(INPUT, [photos["broken.jpg"]])
    said = await card.wait_for("Save it again in another program, then choose it again.")
    assert "as it is" not in said
    assert "Try again" not in said, "it would be as damaged"
    await demo.stays_empty(0.3)


async def test_by_keyboard_alone(stage, page, daemon, demo, photos):
    """The command brings the keyboard into the card; Tab goes through it, Enter presses, Escape cancels."""
    await daemon.stop()
    say = "Promise.allSettled(all.map(({ id }) => chrome.tabs.sendMessage(id, { name: 'focus-card' })))"
    for ends_by in ("Enter", "Escape"):
        await page.choose(INPUT, [photos["eileen.jpg"]])
        card = Card(page)
        await card.wait_for("not running")
        await stage.options.evaluate(f"chrome.tabs.query({{}}).then((all) => {say}).then(() => true)")
        for expected in ("Make small", "Cancel and close", "Try again", "Upload the original", "Cancel"):
            await key(page, "Tab")
            assert expected == await card.ask(FOCUSED)
        await key(page, ends_by)
        await card.wait_gone()
    await demo.stays_empty(0.3)


async def test_the_keyboard_stays_in_the_card(page, daemon, photos):
    """A button goes once it is pressed: the focus must not go with it, back to the page's top. After a click it may:
    a card that kept it would not go by itself."""
    daemon.engine.error = OutOfMemory("the GPU's 2 GB are not enough")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Try again")

    await card.ask("function () { this.focus() }")
    for _ in range(3):
        await key(page, "Tab")
    assert "Try again" == await card.ask(FOCUSED)
    await key(page, "Enter")
    await until(lambda: card.ask("function () { return this.matches(':focus') }"))
    await card.wait_for("Try again")
    await key(page, "Tab")
    assert "Make small" == await card.ask(FOCUSED)
    await card.press("Try again")
    await until(lambda: card.ask("function () { return !this.matches(':focus-within') }"))


async def test_what_a_screen_reader_hears(page, daemon, photos):
    """The card is a named region; its news are spoken politely; the bar and every button have a name."""
    daemon.engine.seconds = 15
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for(" s left")
    nodes = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    heard = [
        (node["role"]["value"], node["name"]["value"]) for node in nodes if node.get("name") and not node["ignored"]
    ]
    assert ("region", "PMask") in heard
    assert ("progressbar", "eileen.jpg") in heard
    assert ("group", "eileen.jpg") in heard, "of twenty buttons with one name each belongs to a photo"
    assert {"Cancel and close", "Cancel", "Upload the original"} <= {name for role, name in heard if role == "button"}
    assert all(name for role, name in heard if role == "button")
    live = "function () { const live = this.querySelector('.live'); return [live.ariaLive, live.textContent] }"
    assert ["polite", "eileen.jpg: Hiding the signatures, 2 faces"] == await Card(page).ask(live)


async def test_dark_light_and_reduced_motion(page, daemon, photos):
    """As the person has set their system."""
    daemon.engine.seconds = 15
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Hiding the signatures")
    look = "function () { const s = getComputedStyle(this); return [s.backgroundColor, s.animationName] }"
    seen = []
    for scheme, motion in (("light", "no-preference"), ("dark", "reduce")):
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in features.items()]
        await page.call("Emulation.setEmulatedMedia", {"features": features})
        seen.append(await card.ask(look))
    assert [["rgb(255, 255, 255)", "rise"], ["rgb(27, 35, 44)", "none"]] == seen


async def test_escape_closes_the_card_and_not_the_pages_dialog(page, daemon, photos):
    """The draft in it would be lost."""
    await page.evaluate("(() => { const d = document.createElement('dialog'); document.body.append(d);"
                        "d.append(document.getElementById('root')); d.showModal() })()")  # fmt: skip
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Hiding the signatures")
    await card.ask("function () { this.focus() }")
    await key(page, "Escape")
    await key(page, "Escape", "keyUp")
    await card.wait_gone()
    assert await page.evaluate("document.querySelector('dialog').open")


@pytest.mark.parametrize(
    "attack",
    [
        "host.remove()",
        "host.hidePopover()",
        "host.inert = true",
        "host.removeAttribute('popover')",
        "host.style.cssText = 'opacity: 0 !important; transform: scale(0) !important; display: none !important'",
        "(() => { const d = document.createElement('dialog'); document.body.append(d); d.showModal() })()",
        "(() => { const d = document.createElement('dialog'), root = document.createElement('div');"
        " document.body.append(root); root.attachShadow({ mode: 'closed' }).append(d); d.showModal() })()",
        "(() => { const [a, b] = [0, 1].map(() => document.createElement('dialog'));"
        " document.body.append(a, b); b.showModal(); a.showModal() })()",
        "(() => { const p = document.createElement('div'); p.popover = 'manual'; document.body.append(p);"
        " p.style = 'width: 100vw; height: 100vh'; p.showPopover() })()",
        "document.body.requestFullscreen()",
    ],
)
async def test_a_page_cannot_do_away_with_the_card(page, daemon, demo, photos, attack):
    """A photo that waits for the person must not be locked in: before long the card can be pressed again."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("not running")
    await page.evaluate(
        f"(async () => {{ const host = document.querySelector('[popover]'); await ({attack}); return true }})()"
    )
    is_shown = (
        "function () { const { width } = this.getBoundingClientRect();"
        " return this.checkVisibility({ opacityProperty: true }) && width > 300 }"
    )
    await until(lambda: card.ask(is_shown))
    await card.press("Upload the original")
    await demo.wait_for(1)


async def test_the_recognisers_are_loaded_while_the_person_still_looks(page, daemon, photos):
    """Seconds of waiting saved: the daemon hears of the opened dialog, and hears of it once."""
    await page.call("Page.setInterceptFileChooserDialog", {"enabled": True})
    assert 0 == daemon.engine.warmed
    for _ in range(2):
        await page.click(INPUT)
    await until(lambda: daemon.engine.warmed)
    await asyncio.sleep(0.3)
    assert (1, 0) == (daemon.engine.warmed, daemon.engine.started)


async def test_a_page_cannot_press_the_buttons(page, daemon, demo, photos):
    """Clicks that a script makes up are not the person's, wherever it aims them."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("not running")
    x, y = await card.place("Upload the original")
    await page.evaluate(
        f"document.elementFromPoint({x}, {y}).dispatchEvent(new MouseEvent('click', {{bubbles: true, composed: true}}))"
    )
    await card.ask("function () { for (const button of this.querySelectorAll('button')) button.click() }")
    await demo.stays_empty(0.5)
    assert "not running" in await card.text()


# As focus-trap of npm does it: on the document, in the capture phase.
TRAP = """
  const seen = (window.seen = []);
  const isBeside = (event) => {
    const beside = !document.getElementById("root").contains(event.target);
    if (beside) seen.push(event.type);
    return beside;
  };
  const end = (event) => {
    if (!isBeside(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  for (const type of ["mousedown", "touchstart", "click", "keydown"]) {
    document.addEventListener(type, end, { capture: true, passive: false });
  }
  document.addEventListener("focusin", (event) => isBeside(event) && document.getElementById("photo").focus(), true);
"""


async def test_a_focus_trap_lets_the_card_alone(page, daemon, demo, photos):
    """Many dialogs stop what happens beside them. The card works by mouse and keyboard, and the page sees nothing."""
    await page.evaluate(f"(() => {{ {TRAP} return true }})()")
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("not running")
    await card.ask("function () { this.focus() }")
    for expected in ("Make small", "Cancel and close", "Try again", "Upload the original"):
        await key(page, "Tab")
        assert expected == await card.ask(FOCUSED)
    await key(page, "Enter")
    await demo.wait_for(1)
    await page.choose(INPUT, [photos["käthe.png"]])
    await card.wait_for("not running")
    await card.press("Cancel and close")
    await card.wait_gone()
    assert [] == await page.evaluate("window.seen")


# As body-scroll-lock and react-remove-scroll do it beside a dialog.
LOCK = "document.addEventListener('wheel', (event) => event.preventDefault(), { passive: false })"


async def test_a_scroll_lock_lets_the_card_scroll(page, daemon, photos):
    """With many photos all rows but the first two would be out of reach."""
    await page.evaluate(LOCK)
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"], photos["third.webp"]])
    size = {"width": 640, "height": 300, "deviceScaleFactor": 1, "mobile": False}
    await page.call("Emulation.setDeviceMetricsOverride", size)
    card = Card(page)
    await card.wait_for("Hiding the signatures")
    place = await card.ask("function () { const { x, y } = this.getBoundingClientRect(); return [x + 200, y + 200] }")
    wheel = {"type": "mouseWheel", "x": place[0], "y": place[1], "deltaX": 0, "deltaY": 100}
    await page.call("Input.dispatchMouseEvent", wheel)
    await until(lambda: card.ask("function () { return this.scrollTop }"))


@pytest.mark.parametrize("place", ["host", "host.attachShadow({ mode: 'open' })"])
async def test_the_card_leaves_the_pages_popover_open(page, daemon, photos, place):
    """Such a composer closes with a press beside it, the text in it and all. Some sites have it in a shadow root."""
    await page.evaluate(
        "const host = document.createElement('div'); document.body.append(host);"
        "window.composer = document.createElement('div'); composer.popover = 'auto';"
        f"{place}.append(composer); composer.append(document.getElementById('root')); composer.showPopover()"
    )
    await daemon.stop()
    await page.choose("composer.querySelector('input')", [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("not running")
    await card.press("Try again")
    await card.wait_for("Try again")
    assert await page.evaluate("composer.matches(':popover-open')")
    await page.evaluate("composer.hidePopover()")
    await card.press("Cancel")
    await card.wait_gone()


async def test_the_card_of_a_frame_goes_with_it(fresh, demo, photos):
    """It stands in the page around the frame, where nobody would hear its buttons any more."""
    page = await fresh.browser.open(demo.url("frames"))
    frame = "document.getElementById('same')"
    inner = f"{frame}.contentDocument.querySelector('input')"
    await page.wait_for(f"{inner} !== null")
    await page.evaluate(f"{frame}.scrollIntoView()")
    await page.choose(inner, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("2 faces protected")
    assert await page.evaluate("document.querySelector(':root > [popover]') !== null")
    await page.evaluate(f"{frame}.remove()")
    await card.wait_gone()


async def test_the_buttons_are_within_reach_in_a_small_frame(page, daemon, demo, photos):
    """An upload widget's frame of another site, in which the card must stay, may be a strip."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    size = {"width": 320, "height": 80, "deviceScaleFactor": 1, "mobile": False}
    await page.call("Emulation.setDeviceMetricsOverride", size)
    await Card(page).press("Upload the original")
    await demo.wait_for(1)


async def test_the_buttons_are_within_reach_in_a_small_window(stage, page, demo, photos):
    """As a small screen is at 200 %: the picture that is looked at must not push the buttons out."""
    await stage.put(review="always")
    size = {"width": 360, "height": 300, "deviceScaleFactor": 2, "mobile": False}
    await page.call("Emulation.setDeviceMetricsOverride", size)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hold to see the original")
    await Card(page).press("Upload it")
    await demo.wait_for(1)


async def test_a_pages_direction_language_and_zoom_are_its_own(page, daemon, photos):
    """English from right to left, read aloud as Arabic, or cut off at the left."""
    await page.evaluate("Object.assign(document.documentElement, { dir: 'rtl', lang: 'ar' }).style.zoom = 2")
    daemon.engine.seconds = 15
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("Hiding the signatures")
    seen = (
        "function () { const { direction } = getComputedStyle(this);"
        " return [direction, this.matches(':lang(en)'), this.getBoundingClientRect().x > 0] }"
    )
    assert ["ltr", True, True] == await card.ask(seen)


async def test_the_keyboard_stays_on_the_button_for_all(stage, page, daemon, photos):
    """While more photos get ready it is the same button."""
    await stage.put(review="always")
    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"], photos["third.webp"]])
    card = Card(page)
    daemon.engine.hurry = 2
    await card.wait_for("Upload all that are ready")
    await go_to(card, "Upload all that are ready")
    assert "Protecting your photo" in await card.text()
    daemon.engine.hurry = 3
    await card.wait_for("Look at 3 photos")
    assert "Upload all that are ready" == await card.ask(FOCUSED)
    await key(page, "Enter")
    await card.wait_for("Done")


async def test_the_card_can_be_made_small(page, daemon, photos):
    """It may lie on the page's own buttons, and to close it is to cancel."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("not running")
    height = "function () { return this.getBoundingClientRect().height }"
    large = await card.ask(height)
    await card.press("Make small")
    assert "A photo was not uploaded" in await card.text()
    assert "Try again" not in await card.text()
    assert await card.ask(height) < 80
    await card.press("Make large")
    assert large == await card.ask(height)
    await card.press("Make small")
    await page.choose(INPUT, [photos["käthe.png"]])
    await card.wait_for("Try again")


async def test_the_card_goes_by_itself_when_a_second_choice_was_cancelled(page, daemon, demo, photos):
    """What is left of it went well, and nothing is left to do."""
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("2 faces protected")
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["third.webp"]])
    await card.wait_for("Hiding the signatures")
    await card.press("Cancel")
    await page.press(5, 5)
    await card.wait_gone()


async def test_a_notice_stays_for_its_time(page, photos):
    """Also on a card that was about to go: whoever dropped a folder must hear why nothing came of it."""
    await page.evaluate("addEventListener('dragover', (event) => event.preventDefault())")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    card = Card(page)
    await card.wait_for("2 faces protected")
    await page.press(5, 5)
    await page.drop("document.body", [photos["album"]])
    await card.wait_for("Folders are not")
    is_seen = "function () { return this.isConnected && !this.querySelector('.notice').hidden }"
    while await card.ask(is_seen):
        await asyncio.sleep(0.05)
    assert "2 faces protected" in await card.text(), "the card went, and the notice with it"


async def test_a_file_that_is_no_image(page, demo, photos, tmp_path):
    """The error says which file it is, what is wrong, and what helps."""
    fake = tmp_path / "notes.jpg"
    fake.write_bytes(photos["notes.txt"].read_bytes())
    await page.choose(INPUT, [fake])
    said = await Card(page).wait_for("This file is not a photo that PMask reads")
    assert "notes.jpg" in said and "Choose another file, or upload it as it is." in said
    await demo.stays_empty(0.3)


async def test_the_badge_counts(stage, page, daemon, demo, photos):
    """At a glance, per tab: under way, waiting for the person, protected so far."""
    options = stage.options

    async def badge():
        text = (
            "chrome.tabs.query({url: '*://127.0.0.1/*'}).then(([tab]) => chrome.action.getBadgeText({tabId: tab.id}))"
        )
        return await options.evaluate(text)

    async def becomes(expected):
        for _ in range(400):
            if (said := await badge()) == expected:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the badge says {said!r}, not {expected!r}")

    daemon.engine.seconds = 60
    await page.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
    await becomes("…")
    daemon.engine.hurry = 2
    await demo.wait_for(2)
    await becomes("2")
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await becomes("!")
    await Card(page).press("Cancel")
    await becomes("2")
    await daemon.start()
    await page.goto(demo.url("drop"))
    await becomes("")
