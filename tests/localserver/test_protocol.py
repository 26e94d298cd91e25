"""PROTOCOL.md and the code say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

import localserver
import pmask
from localserver import errors
from localserver.app import _summary, create_app
from localserver.clients import CODE_ALPHABET, CODE_LIFETIME, PAGE_LIFETIME, WRONG_PER_CODE, WRONG_PER_MINUTE, Clients
from localserver.config import DEFAULT_PORT, Config
from localserver.page import FILES
from localserver.results import Result
from pmask import errors as pmask_errors
from pmask.errors import PMaskError
from pmask.report import BARE, Status, Verdict, tally

ROOT = Path(localserver.__file__).resolve().parent.parent
DOCUMENT = (ROOT / "localserver" / "PROTOCOL.md").read_text(encoding="utf-8")


def documented_errors() -> dict[str, int]:
    """Code to status, from the door's table and the section on errors."""
    table = re.findall(r"\| (\d{3}) `(\w+)` \|", DOCUMENT)
    section = DOCUMENT.split("## Errors", 1)[1].split("\n## ", 1)[0]
    return {code: int(status) for status, code in table} | {
        code: int(status) for code, status in re.findall(r"`(\w+)` (\d{3})", section)
    }


def codes_of(module) -> dict[str, int]:
    """Code to status of the errors that a module defines."""
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, PMaskError)]
    kinds = [kind for kind in kinds if kind.__module__ == module.__name__]
    return {kind.code: kind.status for kind in kinds if "code" in vars(kind)}


async def test_the_routes_are_the_documents(tmp_path):
    """Whoever writes another client has only the document."""
    config = Config(state_dir=tmp_path)
    app = create_app(config, None, Clients(tmp_path))
    routes = {(route.method, route.resource.canonical) for route in app.router.routes()}
    assert {("GET", path) for path in FILES} == {route for route in routes if not route[1].startswith("/v1/")}
    routes -= {("GET", path) for path in FILES}
    headings = re.findall(r"^### `([A-Z]+) ([^`?]+)", DOCUMENT, re.MULTILINE)
    assert routes == {(method, path.replace("ID", "{id}")) for method, path in headings}


@pytest.mark.parametrize("script", ["extension/background/daemon.js", "localserver/page/daemon.js"])
def test_the_clients_ask_for_documented_routes_only(script):
    """Clients and daemon are written in two languages; the document is what they share."""
    client = (ROOT / script).read_text(encoding="utf-8")
    asked = set(re.findall(r'"([A-Z]+ /v1/[^"?]*)', client))
    documented = {f"{method} {path}" for method, path in re.findall(r"^### `([A-Z]+) ([^`?]+)", DOCUMENT, re.MULTILINE)}
    assert asked <= documented
    assert documented - asked <= {"GET /v1/metrics", "POST /v1/warm"}, "what only programs, or not every client, need"


def test_the_error_codes_are_the_documents():
    """Codes are what clients act on: none may appear or vanish in silence."""
    assert documented_errors() == codes_of(errors) | {"internal": 500}


def test_no_code_means_two_things():
    """The library's and the daemon's codes share one namespace."""
    assert set() == set(codes_of(errors)) & set(codes_of(pmask_errors))


@pytest.mark.parametrize("code", sorted(set(codes_of(pmask_errors)) - {"internal"}))
def test_a_workers_error_keeps_its_code_and_status(code):
    """Errors cross from the worker's process by code alone."""
    error = errors.error_of(code, "why")
    assert (code, codes_of(pmask_errors)[code], "why") == (error.code, error.status, str(error))


def test_a_workers_unknown_error_is_the_engines():
    """A newer worker, or nonsense, must not become a code that the protocol does not know."""
    for code in ("no_such_code", None, "queue_full"):
        assert "engine_failed" == errors.error_of(code, "why").code


def test_the_documents_figures_are_the_codes():
    """A limit that is documented wrongly is found by users."""
    assert f"port {DEFAULT_PORT} unless told otherwise" in DOCUMENT
    assert f"`{CODE_ALPHABET}`, good once and for {CODE_LIFETIME / 60:g} minutes" in DOCUMENT
    assert (5, 10) == (WRONG_PER_CODE, WRONG_PER_MINUTE)
    assert "Five wrong codes void the code; ten wrong tries a minute are the most." in DOCUMENT
    config = Config()
    said = " ".join(DOCUMENT.split())
    assert f"At most {config.queue_jobs} jobs and uploads are under way, {config.client_jobs} of one client" in said
    assert f"at most {config.queue_bytes >> 20} MB of photos and results are kept" in said
    assert f"{config.client_bytes >> 20} MB of one client's" in said
    assert "for 10 minutes, and then forgotten" in DOCUMENT
    assert 10 * 60 == config.keep_result
    assert f"forgets the page's pairing after {PAGE_LIFETIME / 3600:g} hours" in DOCUMENT


def test_the_summarys_keys_are_the_documents():
    """X-PMask-Report is what the extension's card is drawn from."""
    documented = [set(re.findall(r'"(\w+)"', keys)) for keys in re.findall(r"`(?:\w+ JSON )?(\{[^`]*\})`", DOCUMENT)]
    face = {"hidden": True, "matched": True, "converged": True, "ssim": 0.97}
    verdict = Verdict(recogniser="dlib", in_team=False, upload=BARE, angle=30.0, threshold=22.0, nearest_other=24.0)
    report = {"status": "protected", "faces": [face], "seconds": 1.0, "bare": 0, "judged": tally([[verdict]])}
    assert set(json.loads(_summary(Result(data=b"", report=report)))) in documented
    assert set(report["judged"]) in documented


def test_the_statuses_are_the_documents_and_the_clients():
    """A status that the extension does not know would hold a protected photo back."""
    client = (ROOT / "extension" / "background" / "daemon.js").read_text(encoding="utf-8")
    page = (ROOT / "localserver" / "page" / "daemon.js").read_text(encoding="utf-8")
    for status in get_args(Status):
        assert f'"{status}"' in client
        assert f'"{status}"' in page or status in ("looked", "left_out")  # the page never asks for that
        assert status in DOCUMENT or status.replace("_", " ") in DOCUMENT


def test_the_version_is_the_projects():
    """Health tells it, and a client decides by it."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [pmask.__version__] == re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert f'"version": "{pmask.__version__}", "protocol": 1' in DOCUMENT
