"""The way of a photo through a baseline: bytes in, bytes of the same kind out, and PMask's own report on them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pmask.baselines.crops import Baseline, Crop
from pmask.errors import BadOption
from pmask.images import RGB, decode, encode
from pmask.job import face_report
from pmask.mask import Embed, Mask, angle, goal
from pmask.options import MaskOptions
from pmask.people import strangers
from pmask.protect import Protector
from pmask.report import Distance, FaceReport, Protection, Report
from pmask.views import View, paste, quality


class BaselineProtector:
    """Protects photos by a baseline. The team of the options are its surrogates; delta and omega are PMask's own, and
    only say in the report what was reached. others: photos of other people, for methods that lead towards somebody.

    Raises BadOption where others are needed and there are none.
    """

    def __init__(self, method: Baseline, *, device: str = "auto", others: Sequence[Path] = ()) -> None:
        if method.needs_others and not others:
            raise BadOption(
                f"{type(method).__name__} leads towards other people; name a folder of their photos with --targets"
            )
        self._method, self._engine = method, Protector(device=device, judges=())
        self._others = tuple(others) if method.needs_others else ()
        self._known: dict[str, Tensor] = {}

    def protect(self, data: bytes, options: MaskOptions) -> Protection:
        """The photo ``data`` with every face masked, one after another. Raises any PMaskError."""
        start, photo = time.monotonic(), decode(data)
        faces = self._engine.detect(photo.rgb)
        team = {name: self._engine.recogniser(name) for name in options.team}
        others = self._embedded_others(options.team)
        views = [View(photo.rgb, face, torch.device(self._engine.device)) for face in faces]
        masks = []
        for view in views:
            began, chance = time.monotonic(), torch.Generator().manual_seed(options.seed)
            crop = Crop.of(view, view.patch(photo.rgb), team, others, photo.colourless)
            values = crop.values(self._method.change(crop, chance))
            seconds = time.monotonic() - began
            masks.append(Mask(values=values, layers=(), iterations=self._method.iterations, seconds=seconds))
        delivered = encode(photo, paste(photo.rgb, views, masks)) if faces else data
        reports = _reports(photo.rgb, decode(delivered).rgb, views, masks, team, options)
        note = self._method.note()
        return Protection(
            data=delivered,
            report=Report(
                status="protected" if faces else "no_face",
                faces=tuple(reports),
                seconds=time.monotonic() - start,
                width=photo.info.width,
                height=photo.info.height,
                format=photo.info.format,
                device=self._engine.device,
                warnings=(*photo.warnings, *([note] if note else [])) if faces else (),
            ),
        )

    def _embedded_others(self, team: Sequence[str]) -> dict[str, Tensor]:
        """For each of the team, the largest face of each photo of others (n, dim)."""
        for name in team:
            if name not in self._known:
                found = [self._engine.embeddings(decode(path.read_bytes()).rgb, [name])[name] for path in self._others]
                rows = [embeddings[:1] for embeddings in found if len(embeddings)]
                if self._others and not rows:
                    raise BadOption("--targets: no face was found in any of the photos; name others")
                self._known[name] = torch.cat(rows) if rows else torch.empty(0)
        return {name: self._known[name] for name in team}


def _reports(
    bare: RGB,
    delivered: RGB,
    views: Sequence[View],
    masks: Sequence[Mask],
    team: Mapping[str, Embed],
    options: MaskOptions,
) -> list[FaceReport]:
    """What the delivered pixels hold, measured as for PMask's own masks."""
    reports = []
    for view, mask in zip(views, masks, strict=True):
        distances = {}
        with torch.no_grad():
            for name, network in team.items():
                before, after = network(view.frame(bare))[0], network(view.frame(delivered))[0]
                other = float(angle(before, strangers(name, before.device)).min())
                distances[name] = Distance(
                    before=0.0,
                    after=math.degrees(float(angle(before, after))),
                    other=math.degrees(other),
                    goal=math.degrees(goal(other, options.delta)),
                )
        looks = quality(view.boxed(bare), view.boxed(delivered))
        reports.append(face_report(view.face, mask, distances, looks, options.omega))
    return reports
