"""The local page as the daemon serves it, and the one exception that the door makes for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localserver import page
from localserver.clients import PAGE_LIFETIME
from pmask.options import PRESETS

FOLDER = Path(page.__file__).parent
OWN = {"Sec-Fetch-Site": "same-origin"}


def origin(daemon, name: str = "127.0.0.1") -> dict[str, str]:
    """The headers of a request that the page makes."""
    return {**OWN, "Host": f"{name}:{daemon.config.port}", "Origin": f"http://{name}:{daemon.config.port}"}


@pytest.fixture
async def paired(stranger):
    """The daemon as its own page sees it once it is paired."""
    return await stranger.pair(origin(stranger)["Origin"])


@pytest.mark.parametrize("path", page.FILES)
async def test_the_page_and_its_files_need_no_token(stranger, path):
    """A browser loads them before anybody could be paired; `none` is how an address that a person typed arrives."""
    for site in ("none", "same-origin"):
        async with stranger.request("GET", path, headers={"Sec-Fetch-Site": site}) as answer:
            assert 200 == answer.status
            assert (FOLDER / page.FILES[path][0]).read_bytes() == await answer.read()
            assert page.FILES[path][1] == answer.content_type


@pytest.mark.parametrize("path", page.FILES)
async def test_the_policy_lets_nothing_else_run(stranger, path):
    """If a file name or a report ever became markup, a browser would still run none of it; no page frames this one."""
    async with stranger.request("GET", path) as answer:
        policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
        assert "'none'" == policy.pop("default-src")
        assert {"'none'"} == {policy[name] for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types")}
        assert {"'self'"} == {policy[name] for name in ("script-src", "style-src", "connect-src")}
        assert "'self' blob:" == policy["img-src"]
        assert "'script'" == policy["require-trusted-types-for"]
        assert "nosniff" == answer.headers["X-Content-Type-Options"]
        assert "same-origin" == answer.headers["Cross-Origin-Opener-Policy"]
        assert "no-store" == answer.headers["Cache-Control"]


async def test_answers_with_data_keep_the_strictest_policy(stranger):
    """Only the page's own files may run anything: a photo that is opened as a document must not."""
    async with stranger.request("GET", "/v1/health") as answer:
        assert "default-src 'none'; frame-ancestors 'none'" == answer.headers["Content-Security-Policy"]


def test_every_file_of_the_folder_is_listed():
    """A script that is forgotten in the list would be a blank page; one that nobody needs should not be there."""
    files = {path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == {name for name, _ in page.FILES.values()}


def test_the_page_has_words_for_each_preset():
    """One without would be a bare name."""
    words = re.search(r"const PRESETS = \{(.*?)\};", (FOLDER / "words.js").read_text(encoding="utf-8"), re.S)[1]
    assert set(PRESETS) == set(re.findall(r"(\w+): \[", words))


def test_nothing_comes_from_elsewhere_or_stands_inline():
    """The page must work, and be safe, without any other host; inline code would be refused by its own policy."""
    for name, _ in page.FILES.values():
        text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert [] == re.findall(r"https?://|@import|url\(|innerHTML|insertAdjacentHTML|eval\(|document\.write", text), (
            name
        )
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert [] == re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", html)
    for address in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert address in page.FILES
    for name in re.findall(
        r'from "\./([^"]+)"', "".join((FOLDER / file).read_text() for file, _ in page.FILES.values())
    ):
        assert f"/page/{name}" in page.FILES


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/__init__.py", "/page/../door.py", "/page/%2e%2e/door.py"]
)
async def test_no_other_file_can_be_asked_for(stranger, path):
    """Paths are compared, never joined to a folder."""
    assert (401, "unauthorised") == await stranger.refusal("GET", path)


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/v1/health", "/v1/options", "/nowhere/sw.js"])
async def test_a_service_worker_gets_the_one_that_goes(stranger, path):
    """Another program that had the port chose its path, and how much it answers for."""
    async with stranger.request("GET", path, headers={**OWN, "Service-Worker": "script"}) as answer:
        assert 200 == answer.status
        assert (FOLDER / "worker.js").read_bytes() == await answer.read()
        assert ("text/javascript", "/") == (answer.content_type, answer.headers["Service-Worker-Allowed"])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_the_page_is_let_in_once_it_is_paired(stranger, name):
    """Its POST carries its origin; its GET does not."""
    headers = origin(stranger, name)
    code = stranger.clients.new_code()
    status, body = await stranger.json("POST", "/v1/pair", json={"code": code, "name": "page"}, headers=headers)
    assert 200 == status
    bearer = {"Authorization": f"Bearer {body['token']}", "Host": headers["Host"], **OWN}
    assert 200 == (await stranger.json("GET", "/v1/options", headers=bearer))[0]
    assert (415, "not_an_image") == await stranger.refusal("POST", "/v1/jobs", data=b"x", headers=bearer | headers)


async def test_the_page_needs_a_token(stranger):
    """Being the daemon's own page opens nothing: whoever may type the code may send photos."""
    assert (401, "unauthorised") == await stranger.refusal("POST", "/v1/jobs", data=b"x", headers=origin(stranger))


@pytest.mark.parametrize("site", [None, "none", "cross-site", "same-site"])
async def test_the_pages_origin_alone_is_not_enough(paired, site):
    """A browser that says nothing of who asks, or says another, is not believed about the origin."""
    headers = origin(paired)
    del headers["Sec-Fetch-Site"]
    code = (
        await paired.refusal(
            "POST", "/v1/jobs", data=b"x", headers=headers | ({"Sec-Fetch-Site": site} if site else {})
        )
    )[1]
    assert ("forbidden_site" if site and site != "none" else "forbidden_origin") == code


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:{0}0",
        "http://127.0.0.1",
        "https://127.0.0.1:{0}",
        "http://localhost:{0}",
        "http://127.0.0.1:{0}/",
        "null",
    ],
)
async def test_origins_that_are_nearly_the_pages_are_refused(paired, other):
    """Another program's page on another port of this machine is a stranger, and so is the other name of loopback."""
    headers = {**origin(paired), "Origin": other.format(paired.config.port)}
    assert (403, "forbidden_origin") == await paired.refusal("POST", "/v1/jobs", data=b"x", headers=headers)


async def test_a_rebound_name_is_no_own_page(paired):
    """Origin and Host agree at evil.example too (CVE-2024-28224): they must agree on a name of ours."""
    evil = f"evil.example:{paired.config.port}"
    headers = {**OWN, "Host": evil, "Origin": f"http://{evil}"}
    assert (403, "forbidden_host") == await paired.refusal("POST", "/v1/jobs", data=b"x", headers=headers)
    assert (403, "forbidden_host") == await paired.refusal("GET", "/", headers=headers)


async def test_another_sites_link_to_the_page_is_refused(stranger):
    """No page opens this one, in a frame or a window of its own, to press its buttons or to watch it load."""
    for site in ("cross-site", "same-site"):
        assert (403, "forbidden_site") == await stranger.refusal("GET", "/", headers={"Sec-Fetch-Site": site})


async def test_the_pages_token_is_no_good_to_an_extension(paired):
    """A client is pinned to the origin that paired."""
    headers = {"Origin": "chrome-extension://abcdefghijklmnopabcdefghijklmnop"}
    assert (403, "forbidden_origin") == await paired.refusal("GET", "/v1/options", headers=headers)


async def test_a_clock_that_is_set_does_not_end_the_pages_pairing(paired):
    """Time servers set clocks by seconds, back too; but no clock gives a pairing a life of years."""
    paired.clock.now -= 60
    assert 200 == await paired.json_or_nothing("GET", "/v1/options")
    paired.clock.now -= PAGE_LIFETIME
    assert 401 == await paired.json_or_nothing("GET", "/v1/options")


async def test_the_pages_pairing_ends(paired):
    """Its token dies with its tab, which nobody tells the daemon; an extension's pairing lasts."""
    extension = await paired.pair()
    assert 2 == len(paired.clients.paired())
    paired.clock.now += PAGE_LIFETIME
    assert (401, "unauthorised") == await paired.refusal("GET", "/v1/options")
    assert [extension.client_id] == [client.id for client in paired.clients.paired()]
    assert 1 == len(list((paired.config.state_dir / "clients").iterdir()))
