"""Nothing leaves unprotected unasked: whatever goes wrong, the site gets nothing until the person has chosen."""

from __future__ import annotations

import pytest
from stage import Card, Daemon, FakeEngine, mark, until

from pmask.errors import OutOfMemory

INPUT = "document.getElementById('photo')"


@pytest.fixture
async def page(guarded, demo):
    return await guarded.open(demo.url("react"))


async def test_daemon_off_then_on(page, daemon, demo, photos):
    """The commonest failure: the message says the cure, and "Try again" goes on where it stopped."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    text = await Card(page).wait_for("not running")
    assert "pmask-server run" in text and "scripts/run.py" in text
    await demo.stays_empty()
    await daemon.start()
    await Card(page).press("Try again")
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def test_upload_the_original(page, daemon, demo, photos):
    """Once, on the person's word, the original may go."""
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    await Card(page).press("Upload the original")
    [file] = await demo.wait_for(1)
    assert photos["eileen.jpg"].read_bytes() == demo.bytes_of(file)


@pytest.mark.parametrize("button", ["Cancel", "Cancel and close"])
async def test_cancel(page, daemon, demo, photos, button):
    """Cancelling, or closing the card, leaves the page as after a dialog that was dismissed."""
    await page.evaluate("addEventListener('cancel', () => { window.wasCancelled = true })")
    await daemon.stop()
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    await Card(page).press(button)
    await Card(page).wait_gone()
    await page.wait_for("window.wasCancelled === true")
    await demo.stays_empty()


async def test_not_paired(unpaired, demo, photos):
    """A fresh install must not let the first photo through, and must show the way to pairing."""
    page = await unpaired.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Not paired")
    await demo.stays_empty()


async def test_revoked(page, daemon, demo, photos):
    """A revoked client gets no proof, so it sends neither its token nor the photo."""
    for client in daemon.clients.paired():
        daemon.clients.revoke(client.id)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("does not know this browser any more")
    await demo.stays_empty()
    assert daemon.engine.started == 0


async def test_a_squatter_on_the_port_gets_nothing(page, daemon, demo, photos, tmp_path_factory):
    """A program that listens where the daemon was cannot prove that it knows the token."""
    await daemon.stop()
    squatter = Daemon(tmp_path_factory.mktemp("squatter"), FakeEngine())
    squatter.port = daemon.port
    squatter.clients.proof = lambda *_: "0" * 64
    await squatter.start()
    try:
        await page.choose(INPUT, [photos["eileen.jpg"]])
        await Card(page).wait_for("could not prove")
        await demo.stays_empty()
    finally:
        await squatter.stop()


async def test_a_failing_job(page, daemon, demo, photos):
    """An engine's failure is shown with its own cure and message."""
    daemon.engine.error = OutOfMemory("the GPU's 2 GB are not enough")
    await page.choose(INPUT, [photos["eileen.jpg"]])
    text = await Card(page).wait_for("Not enough memory")
    assert "the GPU's 2 GB are not enough" in text
    await demo.stays_empty()


async def test_a_refused_photo(page, demo, photos):
    """The daemon's refusal (a 4xx at once) holds the file like any other failure."""
    await page.choose(INPUT, [photos["broken.jpg"]])
    await Card(page).wait_for("A photo was not uploaded")
    await demo.stays_empty()


@pytest.mark.parametrize("with_a_pass", [False, True])
async def test_a_file_that_has_gone(page, demo, photos, tmp_path, with_a_pass):
    """Deleted between the dialog and the upload, as in a cloud's folder: it is said, and nothing hangs on it."""
    if with_a_pass:  # then each choice is looked up before anything else is done with it
        await page.choose(INPUT, [photos["third.webp"]])
        await Card(page).wait_for("Upload the original this once")
        await Card(page).press("Upload the original this once")
        await Card(page).wait_for("Choose the photo again")
    demo.received.clear()
    await page.set_files(INPUT, [tmp_path / "gone.jpg"])
    said = await Card(page).wait_for("This file cannot be read")
    assert "Try again" not in said
    await Card(page).press("Cancel")
    await demo.stays_empty(0.3)


async def test_a_daemon_of_another_version(page, daemon, demo, photos, monkeypatch):
    """An old extension must not send photos in a protocol that it does not know."""
    monkeypatch.setattr("localserver.app.PROTOCOL", 2)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("different versions")
    await demo.stays_empty()


async def test_cancelling_stops_the_work(page, daemon, demo, photos):
    """A photo that nobody waits for must not keep the processor busy."""
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    await Card(page).press("Cancel and close")
    await until(lambda: daemon.engine.cancelled == 1)
    await demo.stays_empty()


async def test_the_result_says_what_recognisers_say(page, daemon, demo, photos):
    """The person can see for themselves: one sentence, and every recogniser's own when it is opened."""
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    card = Card(page)
    said = await card.wait_for(
        "4 of 4 recognisers no longer match it (also after Instagram), 2 of them without ever having seen the mask"
    )
    assert "2 faces protected" in said
    assert "sface" not in said
    await card.ask("function () { this.querySelector('details').open = true }")
    await card.wait_for("Face 2: sface no longer matches it (100 degrees; a match is under 69)")
    said = "dlib (never saw the mask) no longer matches it after Instagram; a stranger looks more alike (30 degrees"
    assert said in await card.text()


async def test_the_result_warns_of_a_recogniser_that_still_matches(page, daemon, demo, photos):
    """Whether the mask was made against it or not; both of the card's sentences say so."""
    daemon.engine.matched = 1
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await demo.wait_for(1)
    said = await Card(page).wait_for("1 of 4 recognisers still matches it, as it is or after Instagram")
    assert "1 of 2 faces only partly hidden: a recogniser still matches it" in said
    assert await Card(page).ask("function () { return this.querySelector('li').className === 'warn' }")


async def test_no_face(page, daemon, demo, photos):
    """A photo without a face goes up byte for byte, and the card says why."""
    daemon.engine.faces = 0
    await page.choose(INPUT, [photos["eileen.jpg"]])
    [file] = await demo.wait_for(1)
    assert photos["eileen.jpg"].read_bytes() == demo.bytes_of(file)
    await Card(page).wait_for("No face found")
