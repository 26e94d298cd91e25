"""Every route of cases.py in both browsers, without and with the extension, by the bytes that the site received."""

from __future__ import annotations

import os

import packages
import pytest
import pytest_asyncio
import routes_table
from arena import RUN, arena_of, judge
from cases import CASES
from routes_table import KINDS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def arena(request, tmp_path_factory, photos):
    async with arena_of(request.param, tmp_path_factory.mktemp(request.param), photos) as arena:
        yield arena
    if "PMASK_WRITE_ROUTES" in os.environ:
        routes_table.write(request.param, arena.seen, RUN)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_only_the_protected_photo_arrives(arena, case):
    """The promise itself. Without the extension the very same gestures bring the original, so the page does work."""
    if arena.kind in case.never:
        pytest.skip(case.never[arena.kind])
    if case.gesture in {"paste", "press"} and arena.kind == "firefox" and arena.browsers[True].display is None:
        pytest.skip("no Xvfb on this machine: Firefox's clipboard holds pictures only on a display")
    if "framework" in case.page:
        try:
            for key in packages.PACKAGES:
                packages.fetched(key)
        except packages.Unreachable as error:
            pytest.skip(str(error))
    arena.seen[case.name] = await judge(arena, case)


async def test_the_table_is_of_these_cases():
    """docs/routes.md must not promise what is no longer played, nor leave out what is."""
    seen = routes_table.rows()
    assert {case.name for case in CASES} == set(seen) - {"way"} - {"---"}
    for case in CASES:
        for kind, cell in zip(KINDS, seen[case.name], strict=True):
            expected = "— " if kind in case.never else "declined" if case.words_in(kind) else "protected"
            assert cell.startswith(expected), f"{case.name} in {kind}: {cell}"
