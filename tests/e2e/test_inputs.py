"""Every way in which a page can have an <input type=file>, with and without the extension, by the bytes that arrive."""

from __future__ import annotations

import pytest
from stage import Card, mark

FRAME = "document.getElementById({!r}).contentDocument.querySelector('input')"
ROUTES = {
    "plain": ("", "document.getElementById('photo')"),
    "react": ("react", "document.getElementById('photo')"),
    "shadow-open": ("shadow", "document.getElementById('open')"),
    "shadow-closed": ("shadow", "document.getElementById('closed')"),
    "shadow-declared": ("shadow", "document.getElementById('declared')"),
    "detached": ("detached", "document.getElementById('choose')"),
    "detached-inline": ("detached", "document.getElementById('choose-inline')"),
    "detached-tree": ("detached", "document.getElementById('choose-tree')"),
    "frame-same": ("frames", FRAME.format("same")),
    "frame-blank": ("frames", "document.querySelector('#blank').contentDocument.querySelector('input')"),
    "frame-written": ("frames", "document.querySelector('#written').contentDocument.querySelector('input')"),
    "frame-srcdoc": ("frames", FRAME.format("srcdoc")),
}


async def post(page, route):
    """The plain form waits for its button; wait until the page has its files."""
    if route == "plain":
        await page.wait_for("document.getElementById('photo').files.length > 0")
        await page.click("document.querySelector('button')")


@pytest.mark.parametrize("route", ROUTES)
async def test_only_the_protected_photo_arrives(route, guarded, demo, photos):
    """The promise itself: what the site gets are the daemon's bytes, under the name and type that were picked."""
    path, target = ROUTES[route]
    page = await guarded.open(demo.url(path))
    await page.choose(target, [photos["eileen.jpg"]])
    await post(page, route)
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    assert (file.name, file.type) == ("eileen.jpg", "image/jpeg")
    await Card(page).wait_for("2 faces protected")


@pytest.mark.parametrize("route", ROUTES)
async def test_without_the_extension_the_original_arrives(route, bare, demo, photos):
    """Else the test above might pass on a page that does not work."""
    path, target = ROUTES[route]
    page = await bare.open(demo.url(path))
    await page.choose(target, [photos["eileen.jpg"]])
    await post(page, route)
    [file] = await demo.wait_for(1)
    assert photos["eileen.jpg"].read_bytes() == demo.bytes_of(file)
