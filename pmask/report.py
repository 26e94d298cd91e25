"""What happened to a photo, in figures: the one shape that the command line, the daemon and the extension share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pmask.uploads import UPLOADS

BARE = "bare"
"""In place of an upload's name: the photo as it is delivered."""

Stage = Literal["loading", "decoding", "detecting", "masking", "encoding", "checking"]

Status = Literal["protected", "no_face", "already_protected", "left_out", "looked"]

UNTOUCHED = frozenset({"no_face", "left_out", "looked"})
"""Statuses of photos of which nothing is delivered: the bytes are those that came, and PMask did not make them."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Angles in degrees between embeddings by one recogniser. The references are the original face and the person's
    faces in other photos, where known (D_l in Eq. 4); the nearest of them counts.

    before: references against the photo re-encoded without a mask: what encoding alone does.
    after: references against the protected photo as it is delivered, decoded again.
    other: original face against the nearest other person; beyond it the protected face looks like somebody else.
    goal: what ``after`` had to reach, (1 + delta) times ``other`` and at most 180 (Eq. 4, 5).
    """

    before: float
    after: float
    other: float
    goal: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one recogniser says of one face that was detected and aligned afresh, as an intruder would. Degrees.

    in_team: the mask was made against this recogniser; the others never saw it.
    upload: BARE, or the name of the upload (pmask.uploads) that the photo went through before.
    angle: to the most similar of the references. threshold: below it the recogniser says "the same person" (one false
    match in a thousand). nearest_other: from the judged face to the nearest stranger.
    """

    recogniser: str
    in_team: bool
    upload: str
    angle: float
    threshold: float
    nearest_other: float

    @property
    def matches(self) -> bool:
        """Whether the recogniser takes the face for the person of the references."""
        return self.angle < self.threshold

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        who = self.recogniser if self.in_team else f"{self.recogniser}, which never saw the mask,"
        after = _after(self.upload)
        if self.matches:
            return f"{who} still matches it{after}"
        stranger = ": a stranger looks more alike" if self.angle > self.nearest_other else ""
        return f"{who} no longer matches it{after}{stranger}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields and properties."""
        return {**asdict(self), "matches": self.matches, "sentence": self.sentence}


def tally(faces: Sequence[Sequence[Verdict]]) -> dict[str, Any] | None:
    """The verdicts on all faces counted, for one short sentence: how many recognisers judged, how many of them match no
    face in any of its forms, how many of those never saw the mask, and after which upload (its title), if any.
    None where nobody judged."""
    verdicts = [verdict for face in faces for verdict in face]
    matching = {verdict.recogniser for verdict in verdicts if verdict.matches}
    fooled = {verdict.recogniser: verdict.in_team for verdict in verdicts if verdict.recogniser not in matching}
    uploads = [UPLOADS[verdict.upload].title for verdict in verdicts if verdict.upload != BARE]
    if not verdicts:
        return None
    return {
        "recognisers": len(matching) + len(fooled),
        "fooled": len(fooled),
        "unseen": sum(not in_team for in_team in fooled.values()),
        "upload": uploads[0] if uploads else None,
    }


def verdict_words(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each recogniser on one face, of its verdicts as JSON: the worst one's sentence, and all angles."""
    lines = []
    for name in dict.fromkeys(verdict["recogniser"] for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict["recogniser"] == name]
        worst = next((verdict for verdict in own if verdict["matches"]), own[0])
        angles = ", ".join(f"{verdict['angle']:.0f} degrees{_after(verdict['upload'])}" for verdict in own)
        lines.append(f"{worst['sentence']} ({angles}; a match is under {worst['threshold']:.0f})")
    return lines


def tally_words(judged: Mapping[str, Any]) -> str:
    """A tally in one sentence."""
    after = f" (also after {judged['upload']})" if judged["upload"] else ""
    fooled = f"{judged['fooled']} of {judged['recognisers']} recognisers no longer match any face{after}"
    return f"{fooled}, {judged['unseen']} of them never saw the mask"


def _after(upload: str) -> str:
    return "" if upload == BARE else f" after {UPLOADS[upload].title}"


@dataclass(frozen=True, kw_only=True)
class FaceReport:
    """One face. box is (x, y, width, height), landmarks five (x, y): eyes, nose tip, mouth corners (left first, as
    seen in the upright photo), all in pixels. ssim and psnr (dB) are over the box, on the delivered bytes.
    hidden: to every recogniser of the team somebody else looks more like the person, in any of the references, than
    the protected face does. converged: every full goal was reached, within the budget. references: how many faces of
    the person were known, this one included. verdicts: of the team and of others, bare and after an upload."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    hidden: bool
    converged: bool
    iterations: int
    seconds: float
    ssim: float
    psnr: float
    distances: dict[str, Distance]
    references: int = 1
    verdicts: tuple[Verdict, ...] = ()

    @property
    def matched(self) -> bool:
        """Whether any recogniser still matches it, bare or after the upload; where none judged, what is not hidden."""
        return any(verdict.matches for verdict in self.verdicts) if self.verdicts else not self.hidden

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields; beside them "matched"."""
        verdicts = [verdict.to_json() for verdict in self.verdicts]
        return {**asdict(self), "matched": self.matched, "verdicts": verdicts}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One photo. warnings are sentences for the person.

    status: "protected"; or, with the bytes unchanged, "no_face", "already_protected" (it is on record as PMask's own
    work), "left_out" (the person chose none of the faces) and "looked" (the faces were only to be found).
    found: boxes (x, y, width, height) of all faces in the upright photo, largest first, also those left out of faces.
    found_frames: in a file of several pictures, in which of its frames, pages or views each of these boxes is
        (pmask.images.Photo.number); else empty.
    bare: how many faces a photo that is "already_protected" shows bare, since they were left out when it was protected.
    passing: a warning is of something that may pass, such as a gallery on a disk that is not plugged in: made again,
        the same photo may come out better.
    """

    status: Status
    faces: tuple[FaceReport, ...]
    seconds: float
    width: int
    height: int
    format: str
    device: str
    warnings: tuple[str, ...] = ()
    found: tuple[tuple[float, float, float, float], ...] = ()
    found_frames: tuple[int, ...] = ()
    bare: int = 0
    passing: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields; beside them "judged", the tally of all verdicts."""
        faces = [face.to_json() for face in self.faces]
        found = [[round(number, 1) for number in box] for box in self.found]  # short, since options send them back
        judged = tally([face.verdicts for face in self.faces])
        return {**asdict(self), "faces": faces, "found": found, "judged": judged}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a photo has come: a stage of its way, the fraction done in [0, 1], the faces found (or None)."""

    stage: Stage
    fraction: float
    faces: int | None = None


@dataclass(frozen=True, kw_only=True)
class Protection:
    """data: the protected file, or the very bytes that came in when the report's status is not "protected"."""

    data: bytes
    report: Report
