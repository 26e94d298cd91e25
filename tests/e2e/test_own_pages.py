"""The extension's own pages, as a person uses them: options, popup and the welcome after the installation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil

import browser as browsers
import pytest
import pytest_asyncio
from stage import EXTENSION, Card, reload_extension, until

INPUT = "document.getElementById('photo')"
pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "chrome.runtime.sendMessage({name: 'overview'}).then(({ value }) => value)"


@pytest_asyncio.fixture(loop_scope="module")
async def options(fresh):
    await fresh.options.goto(fresh.browser.extension_url("options/options.html"))
    await fresh.options.wait_for("document.querySelector('#status.good') !== null")
    await fresh.options.wait_for("document.getElementById('cost').textContent !== ''")  # its figures come after that
    return fresh.options


@pytest.fixture
def guarded(fresh):
    return fresh.browser


@pytest.fixture
def daemon(stage):
    return stage.daemon


@pytest.fixture
def demo(stage):
    return stage.demo


async def downloads(browser, folder):
    """Lets what is saved land in a folder."""
    params = {"behavior": "allow", "downloadPath": str(folder), "eventsEnabled": True}
    await browser.line.call("Browser.setDownloadBehavior", params)


async def saved(path):
    """A file's JSON, once it has been saved."""
    await until(lambda: path.exists() and path.stat().st_size)
    return json.loads(path.read_text(encoding="utf-8"))


async def test_presets_team_and_choices_reach_the_daemon(options, guarded, daemon, demo, photos):
    """What the page shows is what the next photo is protected with."""
    await options.click("document.querySelector('[name=preset][value=fine]').parentElement")
    await options.wait_for(f"{SETTINGS}.then(({{ omega }}) => omega === 0.0085)")
    await options.evaluate("document.getElementById('team-details').open = true")
    await options.click("document.querySelector('#team [value=dlib]')")
    await options.wait_for(f"{SETTINGS}.then(({{ team }}) => team?.includes('dlib'))")
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    [choices] = daemon.engine.options
    assert (1.0, 0.0085, True) == (choices.delta, choices.omega, "dlib" in choices.team)
    await options.click("document.getElementById('team-default')")
    await options.wait_for(f"{SETTINGS}.then(({{ team }}) => team === null)")


async def key(page, name, code):
    """One key of the keyboard, pressed and let go."""
    down = {"key": name, "windowsVirtualKeyCode": code, **({"text": name} if name == " " else {})}
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", {**down, "type": kind})


FOCUSED = "(({ id, value, tagName }) => id || value || tagName)(document.activeElement)"


async def test_choices_by_keyboard_keep_the_focus(options):
    """Each is shown anew once it is set: thrown out of the group, the next arrow would scroll the page."""
    await options.call("Page.bringToFront")
    await options.evaluate("document.querySelector('#presets :checked').focus()")
    for preset, omega in (("balanced", 0.0125), ("fine", 0.0085)):
        await key(options, "ArrowLeft", 37)
        await options.wait_for(f"{SETTINGS}.then(({{ omega }}) => omega === {omega})")
        await options.wait_for(f"document.querySelector('[value={preset}]').checked")
        assert preset == await options.evaluate(FOCUSED)
    await options.evaluate("document.getElementById('team-details').open = true")
    await options.evaluate("document.querySelector('#team [value=dlib]').focus()")
    await key(options, " ", 32)
    await options.wait_for(f"{SETTINGS}.then(({{ team }}) => team?.includes('dlib'))")
    await options.wait_for("!document.getElementById('team-default').hidden")
    assert "dlib" == await options.evaluate(FOCUSED)


async def test_the_sliders_have_a_name_and_say_what_is_shown(options):
    """A screen reader says what stands there: not "slider, 0.017"."""
    await options.evaluate("document.getElementById('own-strength').open = true")
    found = {}
    for node in (await options.call("Accessibility.getFullAXTree"))["nodes"]:
        if node.get("role", {}).get("value") == "slider":
            found[node["name"]["value"]] = node["description"]["value"]
    assert {"Distance (delta)", "Change allowed"} == set(found)
    assert found["Change allowed"].startswith("How much the protected face may differ")
    assert "SSIM ≥ 0.966" == await options.evaluate("document.getElementById('omega').ariaValueText")


async def test_the_looks_hold_in_high_contrast_in_the_dark_and_in_a_narrow_window(guarded):
    """What tells the chosen strength and a switch's state must be seen, and nothing be cut off at the right edge."""
    page = await guarded.open(guarded.extension_url("options/options.html"))
    await page.wait_for("document.querySelector('.tile :checked') !== null")

    async def prefer(**features):
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await page.call("Emulation.setEmulatedMedia", {"features": named})

    await prefer(forced_colors="active")
    style = "(({ opacity, position }) => [opacity, position])(getComputedStyle(document.querySelector('.tile input')))"
    assert ["1", "static"] == await page.evaluate(style)

    await prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    colour = "(pseudo) => getComputedStyle(document.querySelector('.switch input:checked'), pseudo).backgroundColor"
    track, knob = (
        0.05 + sum(weight * (int(v) / 255) ** 2.2 for weight, v in zip((0.2126, 0.7152, 0.0722), rgb, strict=True))
        for rgb in (re.findall(r"\d+", text) for text in await page.evaluate(f"[null, '::after'].map({colour})"))
    )
    assert 3 < max(track / knob, knob / track), "WCAG 1.4.11"

    narrow = {"width": 345, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    await page.call("Emulation.setDeviceMetricsOverride", narrow)
    hidden = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    assert 0 == await page.evaluate(hidden)


async def test_the_last_recogniser_stays(options):
    """A team of nobody would protect from nobody."""
    await options.evaluate("document.getElementById('team-details').open = true")
    ticked = "document.querySelectorAll('#team :checked').length"
    for left in range(await options.evaluate(ticked) - 1, 0, -1):
        await options.evaluate("void (document.getElementById('team-default').hidden = true)")
        await options.click("document.querySelector('#team :checked')")
        await options.wait_for(f"{SETTINGS}.then(({{ team }}) => team?.length === {left})")
        await options.wait_for("!document.getElementById('team-default').hidden")  # the new team is shown
        assert left == await options.evaluate(ticked)
        assert await options.evaluate("document.getElementById('team-result').hidden")
    await options.click("document.querySelector('#team :checked')")
    await options.wait_for("!document.getElementById('team-result').hidden")
    assert "At least one recogniser" in await options.evaluate("document.getElementById('team-result').textContent")
    assert 1 == await options.evaluate(f"{SETTINGS}.then(({{ team }}) => team.length)")
    assert 1 == await options.evaluate(ticked)


async def test_what_a_face_costs_here(options, guarded, daemon, demo, photos):
    """The time on this machine, from the daemon's own figures: unknown first, then what was measured."""
    cost = "document.getElementById('cost').textContent"
    assert "known after the first photo" in await options.evaluate(cost)
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    await options.goto(guarded.extension_url("options/options.html"))
    await options.wait_for(f"{cost}.includes('takes about 0.1 s')")  # 0.1 s and two faces


async def test_a_listed_site_is_not_added_once_more(options):
    """It would be looked after twice over, and could not be removed any more."""
    await options.evaluate("void (document.getElementById('host').value = 'https://www.Facebook.com/me')")
    await options.click("document.querySelector('#own button')")
    await options.wait_for("document.getElementById('own-result').textContent.includes('it is in the list')")
    assert [] == await options.evaluate(f"{SETTINGS}.then(({{ hosts }}) => hosts)")


async def test_the_popups_add_leads_to_the_field(guarded):
    """It stands far down the page: at its top nothing would be seen of the site that was to be added."""
    page = await guarded.open(guarded.extension_url("options/options.html#host=example.org"))
    await page.wait_for("document.querySelector('#status.good') !== null")
    assert ("example.org", "host") == (
        await page.evaluate("document.getElementById('host').value"),
        await page.evaluate(FOCUSED),
    )
    top = "document.getElementById('host').getBoundingClientRect().top / innerHeight"
    assert 0.2 < await page.evaluate(top) < 0.8


async def test_settings_go_to_another_browser(options, guarded, tmp_path):
    """Exported, changed, imported again; and a file that is none of ours changes nothing."""
    await downloads(guarded, tmp_path)
    await options.click("document.querySelector('[name=faces][value=ask]')")
    await options.wait_for(f"{SETTINGS}.then(({{ faces }}) => faces === 'ask')")
    await options.click("document.getElementById('export')")
    file = await saved(tmp_path / "pmask-settings.json")
    assert ("ask", None) == (file["values"]["faces"], file["values"].get("daemon"))
    await options.click("document.querySelector('[name=faces][value=all]')")
    await options.wait_for(f"{SETTINGS}.then(({{ faces }}) => faces === 'all')")
    await options.choose("document.getElementById('import')", [tmp_path / "pmask-settings.json"])
    await options.wait_for(f"{FOCUSED} === 'import-go'")  # where the question is
    await options.click("document.getElementById('import-cancel')")
    await options.wait_for("document.getElementById('import-ask').hidden")
    assert "import" == await options.evaluate(FOCUSED)
    assert "all" == await options.evaluate(f"{SETTINGS}.then(({{ faces }}) => faces)")
    await options.choose("document.getElementById('import')", [tmp_path / "pmask-settings.json"])
    await options.wait_for(f"{FOCUSED} === 'import-go'")
    await options.evaluate("document.activeElement.click()")
    await options.wait_for(f"{SETTINGS}.then(({{ faces }}) => faces === 'ask')")
    await options.wait_for(f"{FOCUSED} === 'import'")
    (tmp_path / "other.json").write_text('{"product": "other"}')
    await options.choose("document.getElementById('import')", [tmp_path / "other.json"])
    await options.wait_for("document.getElementById('files-result').textContent.includes('holds no settings of PMask')")


async def test_diagnostics_are_about_the_machine_only(options, guarded, daemon, demo, photos, tmp_path):
    """A person may post the file in public: no photo, name, address or key in it."""
    await downloads(guarded, tmp_path)
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    await options.click("document.getElementById('diagnostics')")
    file = await saved(tmp_path / "pmask-diagnostics.json")
    assert ("pmask", 1, True) == (file["product"], file["health"]["protocol"], file["paired"])
    assert ["protected"] == [result["state"] for result in file["results"]]
    token = await options.evaluate("chrome.storage.local.get('daemon').then(({ daemon }) => daemon.token)")
    text = json.dumps(file)
    for word in (token, "eileen", "pmask-demo", "demo page", daemon.clients.paired()[0].id):
        assert word not in text


async def test_unpairing_revokes(options, daemon):
    """The daemon forgets this browser too; and says so where it was off and could not."""
    await options.click("document.getElementById('unpair')")
    await options.wait_for("document.getElementById('pair-result').textContent.includes('here and at the server')")
    await options.wait_for(f"{FOCUSED} === 'code'")
    assert [] == daemon.clients.paired()
    await daemon.pair_here(options)
    assert 1 == len(daemon.clients.paired())
    await daemon.stop()
    await options.click("document.getElementById('unpair')")
    await options.wait_for("document.getElementById('pair-result').textContent.includes('pmask-server clients')")


async def test_a_server_that_has_forgotten_this_browser(options, guarded, daemon):
    """As after its folder was deleted: options and popup say so, and lead to pairing again, with the same port."""
    for client in daemon.clients.paired():
        daemon.clients.revoke(client.id)
    popup = await guarded.open(guarded.extension_url("popup/popup.html"))
    await popup.wait_for("document.getElementById('pair').checkVisibility()")
    assert "any more" in await popup.evaluate("document.getElementById('status').textContent")
    await options.click("document.getElementById('check')")
    await options.wait_for("document.getElementById('pair').checkVisibility()")
    assert daemon.port == await options.evaluate("document.getElementById('port').valueAsNumber")
    await daemon.pair_here(options)
    await options.wait_for("document.querySelector('#status.good') !== null")
    await options.wait_for("!document.getElementById('pair').checkVisibility()")


async def test_the_popup_shows_this_page(guarded, daemon, demo, photos):
    """The switch of this site, what its photos have come to, and the last results, newest first."""
    popup = await guarded.open(guarded.extension_url("popup/popup.html"))
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    await page.choose(INPUT, [photos["broken.jpg"]])
    await Card(page).wait_for("This photo is damaged")
    await popup.goto(guarded.extension_url("popup/popup.html"))  # the demo page is the tab in front
    text = "document.body.innerText"
    await popup.wait_for(f"{text}.includes('Last photos')")
    await popup.wait_for("document.querySelectorAll('#results li').length === 2")
    shown = await popup.evaluate(text)
    assert "Waiting for you: 1" in shown and "PMask's demo page" in shown
    first, second = await popup.evaluate("[...document.querySelectorAll('#results li')].map((li) => li.innerText)")
    assert first.startswith("This photo is damaged") and second.startswith("2 faces protected")
    await Card(page).press("Upload the original")
    await demo.wait_for(2)
    await page.call("Page.bringToFront")
    await popup.goto(guarded.extension_url("popup/popup.html"))
    rows = "[...document.querySelectorAll('#results li')].map((li) => li.innerText)"
    await popup.wait_for(f"{rows}[0]?.startsWith('Original, not protected')")
    assert 2 == await popup.evaluate(f"{rows}.length"), "one line a photo, also where it ended twice"
    await popup.evaluate("document.getElementById('site-on').click()")
    await popup.wait_for(f"{SETTINGS}.then(({{ sitesOff }}) => sitesOff.includes('demo'))")
    await popup.wait_for("!document.getElementById('off-note').hidden")


@pytest.mark.parametrize("state, shown", [("original", "Original, not protected"), ("omitted", "Left out")])
async def test_the_popup_judges_only_what_went_protected(options, guarded, state, shown):
    """A mask that was looked at and not taken says nothing of the bare photo that went, or of one that did not."""
    judged = {"recognisers": 4, "fooled": 4, "unseen": 2, "upload": "Instagram"}
    ended = {"name": "ended", "state": state, "summary": {"status": "protected", "faces": 1, "judged": judged}}
    await options.evaluate(f"chrome.runtime.sendMessage({json.dumps(ended)}).then(({{ value }}) => value)")
    popup = await guarded.open(guarded.extension_url("popup/popup.html"))
    await popup.wait_for("document.querySelector('#results li') !== null")
    assert shown in await popup.evaluate("document.body.innerText")
    assert "" == await popup.evaluate("document.getElementById('judged').textContent")


async def opened_again(browser, url):
    """A page of an extension that reloads: until it is there again the browser opens none."""
    page = await browser.open("about:blank")

    async def is_open():
        with contextlib.suppress(browsers.BrowserError):
            await page.goto(url)
            return True

    await until(is_open)
    return page


async def test_a_page_that_was_open_before_the_extension(daemon, demo):
    """Its photos go up as they are: the popup says so behind a switch that says "on", and the badge at an update."""
    async with await browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port]) as browser:
        extensions = await browser.open("chrome://extensions/")
        popup_url = browser.extension_url("popup/popup.html")
        switch = "new Promise((done) => chrome.management.setEnabled({id!r}, {on}, () => done(true)))"
        await extensions.evaluate(switch.format(id=popup_url.split("/")[2], on="false"))
        page = await browser.open(demo.url("react"))
        await extensions.evaluate(switch.format(id=popup_url.split("/")[2], on="true"))
        popup = await browser.open("about:blank")
        stale = "document.getElementById('stale').checkVisibility()"
        await page.call("Page.bringToFront")
        await popup.goto(popup_url)
        await popup.wait_for(stale)
        async with page._line.event("Page.loadEventFired", page.session) as reloaded:
            await popup.evaluate("setTimeout(() => document.getElementById('reload').click()), null")
            await asyncio.wait_for(reloaded, 15)
        popup = await browser.open("about:blank")
        await page.call("Page.bringToFront")
        await popup.goto(popup_url)
        await popup.wait_for("document.querySelector('#status.bad') !== null")
        assert not await popup.evaluate(stale)

        badge = (
            "chrome.tabs.query({url: '*://127.0.0.1/*'}).then(([tab]) => chrome.action.getBadgeText({tabId: tab.id}))"
        )
        assert "" == await popup.evaluate(badge)
        config = "{inDeveloperMode: true}"  # else the browser switches off what it reloads from a folder
        await extensions.evaluate(f"chrome.developerPrivate.updateProfileConfiguration({config})")
        await reload_extension(browser, popup)
        popup = await opened_again(browser, popup_url)
        await popup.wait_for(f"{badge}.then((text) => text === '!')")
        await page.call("Page.reload")
        await popup.wait_for(f"{badge}.then((text) => text === '')")


@pytest.mark.parametrize("name, place", [("welcome", "server"), ("options", "status")])
async def test_what_is_said_already_is_left_alone(options, guarded, daemon, name, place):
    """The pages look for the server every few seconds; the command that starts it must stay selected to be copied."""
    await daemon.stop()
    page = await guarded.open(guarded.extension_url(f"{name}/{name}.html"))
    await page.call("Page.bringToFront")
    await page.wait_for(f"document.querySelector('#{place}.bad') !== null")
    await page.evaluate(f"getSelection().selectAllChildren(document.getElementById('{place}'))")
    looks = "performance.getEntriesByName('look').length"
    await page.evaluate(
        "(() => { const send = chrome.runtime.sendMessage; chrome.runtime.sendMessage = (...args) => {"
        " performance.mark('look'); return send.apply(chrome.runtime, args) }; return true })()"
    )
    await page.wait_for(f"{looks} >= 3", 30)
    assert "pmask-server run" in await page.evaluate("getSelection().toString()")


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
async def test_the_welcome_leads_to_a_first_photo(fresh, daemon, photos, kind):
    """After the installation: is the server there, pair, try it on a photo that goes nowhere."""
    if browsers.find_browser(kind) is None:
        pytest.skip(f"no {kind} on this machine")
    async with await browsers.launch(kind, extension=EXTENSION) as browser:
        page = await browser.open(browser.extension_url("welcome/welcome.html"))
        await page.wait_for("document.querySelector('#server.bad') !== null")
        await page.press(5, 5)  # in front of the one that the installation has opened
        await page.evaluate(f"void (document.getElementById('port').value = {daemon.port})")
        await page.wait_for("document.querySelector('#step-server.done') !== null")
        assert await page.evaluate(f"{INPUT}.disabled")
        await daemon.pair_here(page)
        await page.wait_for("document.querySelector('#step-pair.done') !== null")
        await page.wait_for(f"!{INPUT}.disabled")
        await page.set_files(INPUT, [photos["eileen.jpg"]])
        await page.wait_for("document.querySelector('#step-try.done') !== null")
    assert 1 == daemon.engine.started


async def test_the_welcome_pairs_again_with_a_server_that_has_forgotten(fresh, guarded, daemon):
    """The server is there and pairing is what helps; and a port that is being typed is no fault."""
    for client in daemon.clients.paired():
        daemon.clients.revoke(client.id)
    page = await guarded.open(guarded.extension_url("welcome/welcome.html"))
    await page.wait_for("document.querySelector('#pair-result.bad') !== null")
    opacity = "getComputedStyle(document.getElementById('step-try')).opacity"
    assert "1" == await page.evaluate(opacity), "faded words cannot be read"
    classes = "['step-server', 'step-pair'].map((id) => document.getElementById(id).className)"
    assert ["card stack done", "card stack"] == await page.evaluate(classes)
    assert "any more" in await page.evaluate("document.getElementById('pair-result').textContent")
    await daemon.pair_here(page)
    await page.wait_for("document.querySelector('#step-pair.done') !== null")
    await page.evaluate("chrome.runtime.sendMessage({name: 'unpair'})")
    await page.evaluate("void (document.getElementById('port').value = '')")
    look = "document.dispatchEvent(new Event('visibilitychange'))"
    await page.evaluate(f"{look}; new Promise((resolve) => setTimeout(resolve, 300))")
    assert "Found" in await page.evaluate("document.getElementById('server').textContent")


@pytest.mark.parametrize("locale", ["de", "zh_CN"])
async def test_after_the_installation_and_in_the_persons_language(locale, tmp_path):
    """The welcome opens by itself, and every sentence of the pages is in the locale's file. The language is made the
    extension's only one, since a machine need not have the browser's other languages installed."""
    own = tmp_path / "extension"
    shutil.copytree(EXTENSION, own)
    shutil.rmtree(own / "_locales" / "en")
    manifest = json.loads((own / "manifest.json").read_text(encoding="utf-8"))
    (own / "manifest.json").write_text(json.dumps({**manifest, "default_locale": locale}), encoding="utf-8")
    expected = json.loads((own / "_locales" / locale / "messages.json").read_text(encoding="utf-8"))
    async with await browsers.launch("chromium", extension=own) as browser:

        async def is_welcomed():
            tabs = (await browser.line.call("Target.getTargets"))["targetInfos"]
            return any(tab["url"].endswith("welcome/welcome.html") for tab in tabs)

        await until(is_welcomed)
        for name, title in (("options", "options_title"), ("welcome", "welcome_title"), ("popup", None)):
            page = await browser.open(browser.extension_url(f"{name}/{name}.html"))
            await page.wait_for("document.querySelector('.status.bad') !== null")
            if title:
                assert expected[title]["message"] == await page.evaluate("document.title")
            empty = (
                "[...document.querySelectorAll('[data-i18n]')].filter((e) => !e.textContent).map((e) => e.dataset.i18n)"
            )
            assert [] == await page.evaluate(empty)
            said = await page.evaluate("document.querySelector('.status.bad').textContent")
            assert any(entry["message"] and entry["message"] in said for entry in expected.values())
