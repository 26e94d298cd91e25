"""Which team masks are made against when nobody names one, and the rankings of teams that were made on this machine.

PMask comes with a team and the evidence for it (data/default_team.json). It stays the default until somebody brings
recognisers beyond the package registries' and ranks the whole pool (``pmask team rank``): then it is the most diverse
team of that ranking whose members are here.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from pmask import files
from pmask.errors import BadOption
from pmask.folders import state_dir
from pmask.recognisers.specs import DEFAULT_TEAM, REGISTRY, SPECS
from pmask.store import is_here


def pool() -> list[str]:
    """The recognisers that teams can be made of here: the registry's, and all others that are on this machine."""
    return [spec.name for spec in SPECS.values() if spec.source == "registry" or is_here(spec)]


def default_team() -> tuple[str, ...]:
    """The team when nobody names one. Reads the kept ranking only where it could matter. Raises BadOption for a ranking
    or a file of a person's own recognisers that cannot be read."""
    if set(pool()) <= set(REGISTRY):
        return DEFAULT_TEAM
    ranking = kept(len(DEFAULT_TEAM))
    here = set(pool())
    best = [team for team in ranking["teams"] if here >= set(team["members"])] if ranking else []
    return tuple(best[0]["members"]) if best and best[0]["diversity"] is not None else DEFAULT_TEAM


def evidence() -> dict[str, Any]:
    """Why DEFAULT_TEAM is what it is: its members, the rankings of the registry's recognisers, and how well masks
    protect that were made against each of the best teams."""
    path = resources.files("pmask") / "data" / "default_team.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def kept(size: int) -> dict[str, Any] | None:
    """The ranking of teams of ``size`` that was kept on this machine. Raises BadOption when it cannot be read."""
    try:
        rankings = json.loads(_path().read_text(encoding="utf-8"))
        ranking: dict[str, Any] | None = rankings.get(str(size))
        return ranking
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError) as error:
        raise BadOption(f"{_path()} is no ranking of teams ({error}); `pmask team forget` deletes it") from error


def keep(ranking: dict[str, Any]) -> Path:
    """Keeps a ranking of the whole pool, in place of an earlier one of the same size. Where."""
    rankings = json.loads(_path().read_text(encoding="utf-8")) if _path().is_file() else {}
    rankings[str(ranking["size"])] = ranking
    with files.replacing(_path()) as stream:
        stream.write(json.dumps(rankings, indent=1).encode())
    return _path()


def forget() -> bool:
    """Deletes the kept rankings. Whether there were any."""
    there = _path().is_file()
    _path().unlink(missing_ok=True)
    return there


def _path() -> Path:
    return state_dir() / "team_rankings.json"
