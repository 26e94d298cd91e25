"""The protector as the worker keeps it: with what it remembers from one photo to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pmask.console import say
from pmask.errors import Cancelled
from pmask.gallery import build
from pmask.options import MaskOptions
from pmask.people import Album
from pmask.population import Embeddings
from pmask.protect import Protector
from pmask.record import Record
from pmask.report import Progress, Protection


class Resident:
    """What `localserver.worker` calls by default. It remembers the faces of its last photos, in memory only, so that
    photos of one upload find one another; knows by the record what PMask has made before; and looks again at the folder
    ``gallery``, if there is one, whenever that has changed."""

    def __init__(self, device: str, gallery: Path | None = None) -> None:
        self._protector = Protector(device=device, say=say, album=Album(), record=Record())
        self._gallery = gallery

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "mps"."""
        return self._protector.device

    def warm(self, options: MaskOptions) -> None:
        """Loads the team and the judges."""
        self._protector.warm(options.team)

    def protect(
        self,
        data: bytes,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> Protection:
        """Protects one photo. A gallery folder that is not there costs a warning, not the photo."""
        if self._gallery is None:
            return self._protector.protect(data, options, on_progress, cancelled)
        if self._gallery.is_dir():
            gallery = self._people(self._gallery, options, on_progress, cancelled)
            return self._protector.protect(data, options, on_progress, cancelled, gallery)
        protection = self._protector.protect(data, options, on_progress, cancelled)
        warning = f"the gallery {self._gallery} is not there; this photo was protected without it"
        report = replace(protection.report, warnings=(*protection.report.warnings, warning), passing=True)
        return replace(protection, report=report)

    def _people(
        self,
        folder: Path,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> dict[str, Embeddings]:
        def on_photo(done: int, total: int) -> None:
            on_progress(Progress(stage="loading", fraction=0.0))  # a sign of life
            if cancelled():
                raise Cancelled(f"cancelled at photo {done} of {total} of the gallery")

        names, _ = self._protector.panel(options.team)
        return build(folder, self._protector, names, on_photo, lambda error: say(f"the gallery is not kept: {error}"))
