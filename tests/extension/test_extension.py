"""The extension's files held together: manifest and sites, words and keys, client and protocol; and node's tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pmask.options import PRESETS

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "extension"
PROTOCOL = (ROOT / "localserver" / "PROTOCOL.md").read_text(encoding="utf-8")
MANIFEST = json.loads((EXTENSION / "manifest.json").read_text(encoding="utf-8"))
SITES = json.loads((EXTENSION / "sites.json").read_text(encoding="utf-8"))
MESSAGES = json.loads((EXTENSION / "_locales/en/messages.json").read_text(encoding="utf-8"))
LOCALES = {
    path.parent.name: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((EXTENSION / "_locales").glob("*/messages.json"))
}
DAEMON_JS = (EXTENSION / "background/daemon.js").read_text(encoding="utf-8")

SCRIPTS = [path for path in EXTENSION.rglob("*.js")]
SOURCES = [*SCRIPTS, *EXTENSION.rglob("*.html"), EXTENSION / "manifest.json"]


def matches(*, demo: bool) -> list[str]:
    return [match for site in SITES if (site["id"] == "demo") == demo for match in site["matches"]]


def test_sites_are_those_of_the_manifest():
    """A site that is listed but not matched would upload originals behind a switch that says "on"."""
    by_fallback = {True: matches(demo=False), False: matches(demo=True)}
    for entry in MANIFEST["content_scripts"]:
        assert by_fallback[entry.get("match_origin_as_fallback", False)] == entry["matches"]
        assert (entry["run_at"], entry["all_frames"], entry["match_about_blank"]) == ("document_start", True, True)
    worlds = [
        (entry.get("match_origin_as_fallback", False), entry.get("world")) for entry in MANIFEST["content_scripts"]
    ]
    # The guard first: it must listen before the bridge hands it its line.
    assert [(True, "MAIN"), (True, None), (False, "MAIN"), (False, None)] == worlds
    hosts = {re.sub(r"(?<=[^/:])/.*", "", match) for match in matches(demo=False)}
    granted = {re.sub(r"(?<=[^/:])/.*", "", match) for match in MANIFEST["host_permissions"]}
    assert hosts | {"http://127.0.0.1", "http://localhost"} == granted


def test_ids_of_sites_are_unique():
    """The switch of one site must not throw another's."""
    ids = [site["id"] for site in SITES]
    assert sorted(set(ids)) == sorted(ids)


def test_the_manifest_names_files_that_are_there():
    """A content script that is missing is skipped in silence."""
    scripts = [path for entry in MANIFEST["content_scripts"] for path in entry["js"]]
    background = MANIFEST["background"]
    assert [background["service_worker"]] == background["scripts"]
    icons = [*MANIFEST["icons"].values(), *MANIFEST["action"]["default_icon"].values()]
    pages = [MANIFEST["action"]["default_popup"], MANIFEST["options_ui"]["page"]]
    for name in [*scripts, *background["scripts"], *icons, *pages]:
        assert (EXTENSION / name).is_file(), name
    messages = (EXTENSION / "background/messages.js").read_text(encoding="utf-8")
    desk = re.findall(r'"(page/[\w/]+\.js)"', re.search(r"DESK = \[(.*?)\]", messages, re.S)[1])
    present = {path.relative_to(EXTENSION).as_posix() for path in (EXTENSION / "page").rglob("*.js")}
    assert present == {*scripts, *desk}
    welcome = (EXTENSION / "welcome/welcome.html").read_text(encoding="utf-8")
    assert desk == [*re.findall(r'src="../(page/[\w/]+\.js)"', welcome), "page/desk.js"], "it shows a photo as pages do"
    routes = {f"page/routes/{path.name}" for path in (EXTENSION / "page/routes").iterdir()}
    assert routes <= set(MANIFEST["content_scripts"][0]["js"])
    assert "web_accessible_resources" not in MANIFEST, "a page could open the options page with a code of its own"
    assert "externally_connectable" not in MANIFEST


def known_codes() -> set[str]:
    """Codes that a photo, or pairing, can meet: the daemon's, pmask's and the extension's own."""
    errors = (ROOT / "pmask/errors.py").read_text(encoding="utf-8")
    own = re.search(r"OWN_CODES = \[(.*?)\]", (EXTENSION / "background/errors.js").read_text(encoding="utf-8"), re.S)
    return {
        *re.findall(r'code, status = "(\w+)"', errors),
        *re.findall(r"`(\w+)` \d{3}", PROTOCOL),
        *re.findall(r"\d{3} `(\w+)`", PROTOCOL),
        *re.findall(r'"(\w+)"', own[1]),
    }


# Codes that say the extension, not the person, did something wrong: the words for the unexpected do.
WITHOUT_WORDS = {
    "bad_option",
    "bad_request",
    "forbidden_host",
    "forbidden_site",
    "internal",
    "method_not_allowed",
    "no_face",
    "not_found",
    "not_ready",
    "unknown_option",
    "unknown_recogniser",
}


def test_every_error_has_its_words_and_cure():
    """Each failure is told apart and says what helps."""
    said = {match[1] for key in MESSAGES if (match := re.fullmatch(r"error_(\w+)_title", key))}
    assert known_codes() - WITHOUT_WORDS == said
    assert {f"error_{code}_{part}" for code in said for part in ("title", "cure")} == {
        key for key in MESSAGES if key.startswith("error_")
    }


def test_presets_are_the_librarys():
    """One name must not mean two masks. The options page shows them while the daemon is off, so they stand here too."""
    source = re.search(r"PRESETS = (.*?)\);", (EXTENSION / "background/settings.js").read_text(encoding="utf-8"), re.S)
    found = re.findall(r"(\w+): \{ delta: ([\d.]+), omega: ([\d.]+) \}", source[1])
    assert PRESETS == {name: {"delta": float(delta), "omega": float(omega)} for name, delta, omega in found}


@pytest.mark.parametrize("preset", PRESETS)
def test_all_languages_and_the_local_page_say_the_same_figures(preset):
    """They come from one measurement; a new one must reach them all."""
    page = (ROOT / "localserver/page/words.js").read_text(encoding="utf-8")
    said = [words[f"preset_{preset}_words"]["message"] for words in LOCALES.values()]
    said.append(re.search(rf'  {preset}: \["[^"]*", "([^"]*)"\]', page)[1])
    assert 1 == len({tuple(sorted(re.findall(r"\d+", text))) for text in said}), said
    assert all("100" in text for text in said)


def used_words() -> set[str]:
    """Keys of sentences that the sources name, by themselves or as a family."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    used = set(re.findall(r'(?:words|getMessage|notice|button|#button)\(\s*"(\w+)"', text))
    used |= set(re.findall(r'data-i18n(?:-label)?="(\w+)"', text)) | set(re.findall(r"__MSG_(\w+)__", text))
    used |= {key for key in re.findall(r'"(\w+)"', text) if key in MESSAGES}
    stages = re.search(r"`stage`[^.]*? one of (.*?)\.", PROTOCOL, re.S)
    used |= {f"stage_{stage}" for stage in re.findall(r"`(\w+)`", stages[1])}
    used |= {f"state_{state}" for state in ("waiting", "sending", "queued", "fetching")}
    used |= {f"result_{state}" for state in ("no_face", "original", "omitted")}
    presets = re.search(r"PRESETS = (.*?)\);", (EXTENSION / "background/settings.js").read_text(encoding="utf-8"), re.S)
    names = re.findall(r"(\w+): \{", presets[1])
    return used | {f"preset_{name}{part}" for name in names for part in ("", "_words")}


def test_words_are_all_there_and_all_used():
    """A missing key shows as an empty line; one that nobody uses misleads a translator."""
    used = used_words()
    assert sorted(used) == sorted(key for key in MESSAGES if not key.startswith("error_") or key in used)
    assert not used - set(MESSAGES)


def test_every_locale_is_there():
    """The six that the manifest's texts and the pages speak."""
    assert {"en", "de", "es", "fr", "pt_BR", "zh_CN"} == set(LOCALES)


def test_every_locale_names_its_language():
    """Card and pages are read aloud in it, and not in the page's or the browser's."""
    assert {name: name.replace("_", "-") for name in LOCALES} == {
        name: said["language"]["message"] for name, said in LOCALES.items()
    }


@pytest.mark.parametrize("locale", LOCALES)
def test_every_locale_says_everything_with_the_same_values(locale):
    """A sentence that lacks a number, or is missing, would leave a hole in the card."""
    said = LOCALES[locale]
    assert sorted(MESSAGES) == sorted(said)
    for key, entry in said.items():
        assert entry["message"].strip(), key
        named = set(re.findall(r"\$([A-Z]+)\$", entry["message"]))
        assert named == {name.upper() for name in entry.get("placeholders", {})}, key
        assert entry.get("placeholders", {}) == MESSAGES[key].get("placeholders", {}), key


# Figures and names, and words that two languages share.
ALIKE = {
    "extension_short",
    "preset_figures",
    "pair_code",
    "pair_port",
    "compare_original",
    "server_heading",
    "sites_heading",
    "popup_options",
    "own_label",
    "delta_label",
}


@pytest.mark.parametrize("locale", sorted(set(LOCALES) - {"en"}))
def test_a_translation_is_one(locale):
    """No English was left standing."""
    same = [key for key, entry in LOCALES[locale].items() if entry["message"] == MESSAGES[key]["message"]]
    assert set(same) <= ALIKE, same


def test_a_french_sign_stays_with_its_word():
    """French sets a space before : ; ? ! and inside quotes; an ordinary one lets a line begin with the sign alone."""
    loose = [key for key, entry in LOCALES["fr"].items() if re.search(r" [:;?!»]|« ", entry["message"])]
    assert [] == loose


def test_no_words_are_written_into_the_pages():
    """What is not in _locales cannot be translated."""
    for path in EXTENSION.rglob("*.html"):
        body = re.sub(r"<title>PMask</title>|<!doctype html>", "", path.read_text(encoding="utf-8"))
        assert [] == re.findall(r">\s*([^<>\s][^<>]*)<", body), path
        assert not re.findall(r'(?:title|aria-label|alt)="[^"]+"', body), path
    for path in SCRIPTS:
        code = path.read_text(encoding="utf-8")
        shown = re.findall(r'(?:textContent|title|innerText|ariaLabel|placeholder)\s*[=:]\s*"([^"]+)"', code)
        shown += re.findall(r'"(?:title|alt|aria-label)":?,?\s*"([^"]+)"', code)
        assert [] == shown, path


def test_managed_settings_are_the_settings():
    """An administrator's key that the extension does not know would be ignored in silence."""
    schema = json.loads((EXTENSION / MANIFEST["storage"]["managed_schema"]).read_text(encoding="utf-8"))
    source = (EXTENSION / "background/settings.js").read_text(encoding="utf-8")
    table = re.search(r"SETTINGS = Object.freeze\(\{(.*?)\n\}\)", source, re.S)[1]
    assert re.findall(r"^  (\w+): \{ initial", table, re.M) == list(schema["properties"])
    for key, rule in schema["properties"].items():
        for value in rule.get("enum", []):
            assert f'"{value}"' in re.search(rf"  {key}: .*", table)[0]


def test_the_client_speaks_the_protocol():
    """PROTOCOL.md is the one description; the client's routes, port, number and proof are its."""
    documented = set(re.findall(r"### `(\w+ [^`? ]+)", PROTOCOL))
    used = set(re.findall(r'"((?:GET|POST|DELETE) /[^"]+)"', DAEMON_JS))
    assert used <= documented
    assert documented - used <= {"GET /v1/metrics", "POST /v1/warm"}, "what only programs, or not every client, need"
    assert re.search(r"DEFAULT_PORT = (\d+)", DAEMON_JS)[1] == re.search(r"port (\d+) unless told", PROTOCOL)[1]
    assert re.search(r"PROTOCOL = (\d+)", DAEMON_JS)[1] == re.search(r"HTTP protocol, version (\d+)", PROTOCOL)[1]
    assert "pmask-proof-1\\nCHALLENGE\\nPORT" in PROTOCOL
    assert "pmask-proof-1\\n${challenge}\\n${port}" in DAEMON_JS


def test_one_file_talks_to_the_daemon_and_one_touches_storage():
    """Whoever reviews where photos and the token go has two files to read."""
    talking = {
        path.name for path in SCRIPTS if re.search(r"127\.0\.0\.1|Authorization", path.read_text(encoding="utf-8"))
    }
    storing = {path.name for path in SCRIPTS if re.search(r"\.storage\b", path.read_text(encoding="utf-8"))}
    assert (talking, storing) == ({"daemon.js"}, {"store.js"})


def test_guard_and_bridge_agree_on_what_may_be_a_photo():
    """They live in two worlds: the bridge stands in where the guard does not."""
    found = [
        re.findall(r"const (?:PHOTO|OTHER)_NAME =\s+(\S+);", (EXTENSION / "page" / name).read_text(encoding="utf-8"))
        for name in ("core.js", "bridge.js")
    ]
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_nothing_builds_markup_or_code_from_text():
    """innerHTML, eval and script tags are how a page's file name would become the page's code."""
    for path in SCRIPTS:
        found = re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", path.read_text(encoding="utf-8")
        )
        assert found is None, path


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed; its tests of the extension's logic are skipped"
)
def test_node_tests():
    """The logic that needs no browser, tested by node's own runner."""
    files = sorted(str(path) for path in Path(__file__).parent.glob("*.test.js"))
    assert files
    done = subprocess.run(
        ["node", "--test", *files], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
