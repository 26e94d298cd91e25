"""The slow part of an evaluation, photo by photo: protect, detect afresh behind each pipeline, embed, judge the looks.

All results are kept in a folder as they come (``Kept``), under keys that name everything they depend on, code included.
So work that is done is never done again, results of other settings are never taken for these, and whoever is killed
loses the photo in hand. Several processes may work into one folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import torch

from pmask.baselines import Baseline
from pmask.baselines.protector import BaselineProtector
from pmask.errors import OutOfMemory, PMaskError
from pmask.evaluation import pipelines, quality
from pmask.evaluation.intruders import Intruder, Recognise, Vector, recognise
from pmask.evaluation.people import PhotoFile
from pmask.faces import Box, Detector, Face, central, load_detector
from pmask.files import replacing
from pmask.images import RGB, decode
from pmask.marks import code_mark
from pmask.mask import Search
from pmask.options import MaskOptions
from pmask.population import Embeddings
from pmask.protect import Protector
from pmask.report import Protection

AS_DELIVERED = "bare"
"""The pipeline that changes nothing."""
PROTECTING = (
    *("faces", "film", "geometry", "images", "job", "mask", "people", "population", "protect", "recording", "sights"),
    *("ssim", "still", "tracks", "views", "recognisers", "data/populations"),
)
"""The library's modules and folders that decide what a protected file holds; a baseline's own code beside them."""
Look = tuple[str, str, str]
"""File (SHA-256), pipeline with its code, detector with its code: what a face was looked for in."""
BUSY_S = 120.0
"""How long a process waits for another one that writes into the same folder."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is to be done to photos. folder: where results are kept. search: None protects nothing.

    pipelines: names beside AS_DELIVERED. device: "cpu", "cuda" or "mps", of the search. threads: of one process.
    albums: by the digest of a photo that is to be protected, the person's other photos that PMask is shown with it.
    others: photos of people towards whom a baseline may lead.
    """

    folder: Path
    detector: str
    intruders: tuple[Intruder, ...]
    pipelines: tuple[str, ...]
    search: Search | Baseline | None
    options: MaskOptions
    device: str
    threads: int = 1
    albums: Mapping[str, tuple[PhotoFile, ...]] = field(default_factory=dict)
    others: tuple[PhotoFile, ...] = ()

    def album(self, photo: PhotoFile) -> tuple[PhotoFile, ...]:
        """The person's other photos (D_l of Eq. 4)."""
        return self.albums.get(photo.digest, ())

    @property
    def looks(self) -> tuple[str, ...]:
        """The names of all pipelines, AS_DELIVERED first."""
        return (AS_DELIVERED, *(name for name in self.pipelines if name != AS_DELIVERED))

    def look(self, file: str, pipeline: str = AS_DELIVERED) -> Look:
        """The key of what the detector sees of a file (SHA-256) behind a pipeline."""
        code = "" if pipeline == AS_DELIVERED else f"-{code_mark('evaluation/pipelines', 'uploads')}"
        return file, f"{pipeline}{code}", f"{self.detector}-{code_mark('faces')}"


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One photo's share of the work. protect: whether it is to be protected, or only looked at as it is."""

    photo: PhotoFile
    protect: bool


@dataclass
class Done:
    """How much was worked out anew, as opposed to found: files protected, faces looked for, embeddings, qualities."""

    protected: int = 0
    detected: int = 0
    embedded: int = 0
    measured: int = 0

    def __iadd__(self, other: Done) -> Done:
        for part in dataclasses.fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))
        return self


@dataclass(frozen=True)
class Protected:
    """A protected file. report is Report.to_json(), or None when nothing protects (the file is the photo itself)."""

    path: Path
    digest: str
    report: dict[str, Any] | None

    def face(self, shape: Sequence[int]) -> dict[str, Any] | None:
        """Of the report, the face that the photo of ``shape`` (height, width, ...) is about."""
        faces = self.report["faces"] if self.report else []
        i = central([face["box"] for face in faces], shape)
        return None if i is None else faces[i]


class Kept:
    """Everything that was worked out, in one folder: protected files with their reports, and one sqlite file."""

    def __init__(self, folder: Path) -> None:
        self._files = folder / "protected"
        self._files.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(folder / "kept.sqlite", timeout=BUSY_S, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        for table, keys, value in (
            ("faces", "file, pipeline, detector", "face"),
            ("embeddings", "file, pipeline, detector, intruder", "vector"),
            ("qualities", "file, protected, code", "figures"),
        ):
            self._base.execute(f"CREATE TABLE IF NOT EXISTS {table} ({keys}, {value}, PRIMARY KEY ({keys}))")

    def close(self) -> None:
        """Lets go of the files."""
        self._base.close()

    def face(self, look: Look) -> tuple[bool, Face | None]:
        """Whether a face was looked for there, and the one that was found."""
        row = self._one("SELECT face FROM faces WHERE file = ? AND pipeline = ? AND detector = ?", *look)
        if row is None or row[0] is None:
            return row is not None, None
        box, landmarks, score = json.loads(row[0])
        return True, Face(box=tuple(box), landmarks=np.array(landmarks), score=score)

    def keep_face(self, look: Look, face: Face | None) -> None:
        """face: None when there is none."""
        text = None if face is None else json.dumps([face.box, face.landmarks.tolist(), face.score])
        self._base.execute("INSERT OR REPLACE INTO faces VALUES (?, ?, ?, ?)", (*look, text))

    def vector(self, look: Look, intruder: Intruder) -> Vector | None:
        """The embedding (dim), None when there is none yet."""
        where = "file = ? AND pipeline = ? AND detector = ? AND intruder = ?"
        row = self._one(f"SELECT vector FROM embeddings WHERE {where}", *look, _intruder_key(intruder))
        return None if row is None else np.frombuffer(row[0], np.float32)

    def keep_vector(self, look: Look, intruder: Intruder, vector: Vector) -> None:
        """vector: (dim)."""
        row = (*look, _intruder_key(intruder), vector.astype(np.float32).tobytes())
        self._base.execute("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)", row)

    def quality(self, file: str, protected: str) -> dict[str, Any] | None:
        """Quality.to_json() of a protected file against its photo, None when it was not measured."""
        where = "file = ? AND protected = ? AND code = ?"
        row = self._one(f"SELECT figures FROM qualities WHERE {where}", file, protected, self._measures)
        return None if row is None else dict(json.loads(row[0]))

    def keep_quality(self, file: str, protected: str, figures: dict[str, Any]) -> None:
        """figures: Quality.to_json()."""
        row = (file, protected, self._measures, json.dumps(figures))
        self._base.execute("INSERT OR REPLACE INTO qualities VALUES (?, ?, ?, ?)", row)

    @cached_property
    def _measures(self) -> str:
        """Which measures quality.measure takes here: its code, and whether LPIPS is among them."""
        lpips = "" if quality.lpips_unavailable() else "-lpips"
        return f"{code_mark('evaluation/quality', 'evaluation/pipelines', 'ssim', 'views')}{lpips}"

    def protected(self, photo: PhotoFile, recipe: Recipe) -> Protected | None:
        """The photo as the recipe protects it, None when that was not done yet."""
        if recipe.search is None:
            return Protected(photo.path, photo.digest, None)
        path = self._path(photo, recipe)
        try:
            known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Protected(path, known["sha256"], known["report"])

    def keep_protected(self, photo: PhotoFile, recipe: Recipe, data: bytes, report: dict[str, Any]) -> Protected:
        """Writes the protected file, then its record: where there is a record, the file is whole."""
        path, digest = self._path(photo, recipe), hashlib.sha256(data).hexdigest()
        record = {"photo": str(photo.path), "sha256": digest, "report": report, "settings": _settings(recipe)}
        _write(path, data)
        _write(path.with_suffix(".json"), json.dumps(record, indent=1).encode())
        return Protected(path, digest, report)

    def _path(self, photo: PhotoFile, recipe: Recipe) -> Path:
        album = sorted(other.digest for other in recipe.album(photo))
        mark = hashlib.sha256(json.dumps([photo.digest, album, _settings(recipe)]).encode()).hexdigest()
        return self._files / f"{mark[:24]}{photo.path.suffix.lower()}"

    def _one(self, question: str, *values: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._base.execute(question, values).fetchone()
        return row


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All that a protected file depends on, beside the photo."""
    return {
        "options": recipe.options.to_json(),
        "search": repr(recipe.search),
        "device": recipe.device,
        "code": code_mark(*PROTECTING),
        **(_baseline_settings(recipe, recipe.search) if isinstance(recipe.search, Baseline) else {}),
    }


def _baseline_settings(recipe: Recipe, method: Baseline) -> dict[str, Any]:
    """What a baseline's file depends on beside that."""
    module = type(method).__module__.removeprefix("pmask.").replace(".", "/")
    code = code_mark(module, "baselines/crops", "baselines/protector")
    return {"baseline": code, "note": method.note(), "others": [photo.digest for photo in recipe.others]}


def _intruder_key(who: Intruder) -> str:
    """The name, which weights, and which code: embeddings made otherwise are never taken for these."""
    code = ("geometry", "evaluation/intruders", *(() if who.path else ("views", "recognisers")))
    return f"{who.name}-{who.sha256[:12]}-{code_mark(*code)}"


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as stream:
        stream.write(data)


class Worker:
    """Runs errands. What it needs is loaded when first used and stays."""

    def __init__(self, recipe: Recipe) -> None:
        code_mark()  # reads the code as it is now
        self.recipe, self.kept = recipe, Kept(recipe.folder)
        self._recognise: dict[Intruder, Recognise] = {}
        self._embedded: dict[str, dict[str, Embeddings]] = {}

    @cached_property
    def _protector(self) -> Protector:
        if not isinstance(self.recipe.search, Search):
            raise RuntimeError("PMask protects nothing where there is no search")
        return Protector(device=self.recipe.device, search=self.recipe.search, judges=())

    @cached_property
    def _baseline(self) -> BaselineProtector:
        if not isinstance(self.recipe.search, Baseline):
            raise RuntimeError("no baseline was asked for")
        others = [photo.path for photo in self.recipe.others]
        return BaselineProtector(self.recipe.search, device=self.recipe.device, others=others)

    def _protect(self, photo: PhotoFile, data: bytes) -> Protection:
        if isinstance(self.recipe.search, Baseline):
            return self._baseline.protect(data, self.recipe.options)
        return self._protector.protect(data, self.recipe.options, gallery=self._gallery(photo))

    @cached_property
    def _detect(self) -> Detector:
        return load_detector(self.recipe.detector)

    def _intruder(self, who: Intruder) -> Recognise:
        if who not in self._recognise:
            self._recognise[who] = recognise(who, threads=self.recipe.threads)
        return self._recognise[who]

    def is_done(self, errand: Errand) -> bool:
        """Whether there is nothing left of it."""
        photo = errand.photo
        if not errand.protect:
            return self._missing(self.recipe.look(photo.digest)) == []
        protected = self.kept.protected(photo, self.recipe)
        if protected is None:
            return False
        files = (photo.digest, protected.digest)
        looks = [self.recipe.look(file, name) for file in files for name in self.recipe.looks]
        return all(self._missing(look) == [] for look in looks) and (
            not (protected.report and protected.report["faces"])
            or self.kept.quality(photo.digest, protected.digest) is not None
        )

    def run(self, errand: Errand) -> Done:
        """Does what is missing of an errand, keeping each part as it comes. A PMaskError names the photo."""
        try:
            return self._protect_and_look(errand) if errand.protect else self._look_at(errand)
        except PMaskError as error:
            raise type(error)(f"{errand.photo.path}: {error}") from error

    def _look_at(self, errand: Errand) -> Done:
        photo = errand.photo
        return self._look(photo.digest, decode(photo.path.read_bytes()).rgb, [AS_DELIVERED], (0, 0, 0, 0))

    def _protect_and_look(self, errand: Errand) -> Done:
        photo, done = errand.photo, Done()
        data = photo.path.read_bytes()
        rgb = decode(data).rgb
        protected = self.kept.protected(photo, self.recipe)
        if protected is None:
            result = self._protect(photo, data)
            protected = self.kept.keep_protected(photo, self.recipe, result.data, result.report.to_json())
            done.protected += 1
        done += self._look(photo.digest, rgb, [AS_DELIVERED], (0, 0, 0, 0))
        _, face = self.kept.face(self.recipe.look(photo.digest))
        masked = protected.face(rgb.shape)
        # a pipeline cuts where the unprotected face is; where nobody finds one, it takes the whole photo
        box = face.box if face else masked["box"] if masked else (0.0, 0.0, float(rgb.shape[1]), float(rgb.shape[0]))
        delivered = decode(protected.path.read_bytes()).rgb
        done += self._look(photo.digest, rgb, self.recipe.looks, box)
        done += self._look(protected.digest, delivered, self.recipe.looks, box)
        if masked and self.kept.quality(photo.digest, protected.digest) is None:
            judged = Face(box=tuple(masked["box"]), landmarks=np.array(masked["landmarks"]), score=1.0)
            figures = quality.measure(rgb, delivered, judged).to_json()
            self.kept.keep_quality(photo.digest, protected.digest, figures)
            done.measured += 1
        return done

    def _gallery(self, photo: PhotoFile) -> dict[str, Embeddings]:
        """The faces of the person's other photos, as PMask's own detector and team see them."""
        album, team = self.recipe.album(photo), self.recipe.options.team
        for other in album:
            if other.digest not in self._embedded:
                found = self._protector.embeddings(decode(other.path.read_bytes()).rgb, team)
                self._embedded[other.digest] = {name: rows.cpu().numpy() for name, rows in found.items()}
        faces = [self._embedded[other.digest] for other in album]
        return {name: np.concatenate([photo[name] for photo in faces]) for name in team} if faces else {}

    def _missing(self, look: Look) -> list[Intruder] | None:
        """The intruders that have not seen the face there, or None when nobody looked for it yet."""
        looked, face = self.kept.face(look)
        if not looked:
            return None
        wanted = self.recipe.intruders if face else ()
        return [who for who in wanted if self.kept.vector(look, who) is None]

    def _look(self, file: str, rgb: RGB, names: Sequence[str], box: Box) -> Done:
        """Lets every intruder that has not yet, see the pixels of a file behind the pipelines ``names``."""
        done = Done()
        for name in names:
            look = self.recipe.look(file, name)
            missing = self._missing(look)
            if missing == []:
                continue
            seen = pipelines.apply(name, rgb, box)
            if missing is None:
                faces = self._detect(seen)
                i = central([face.box for face in faces], seen.shape)
                self.kept.keep_face(look, None if i is None else faces[i])
                done.detected += 1
            _, face = self.kept.face(look)
            if face is not None:
                for who in self._missing(look) or []:
                    self.kept.keep_vector(look, who, self._intruder(who)(seen, face))
                    done.embedded += 1
        return done


class Crew:
    """Those who do the work: this process, or, with jobs > 1, as many others, started when there is first something to
    do. own: the worker of this process. To be used in a ``with`` statement."""

    def __init__(self, recipe: Recipe, jobs: int) -> None:
        self.own, self._jobs = Worker(recipe), jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.own.kept.close()

    def run(self, errands: Sequence[Errand]) -> Iterator[Done]:
        """Runs the errands, and says after each what was done."""
        if self._jobs == 1 or (self._pool is None and len(errands) < 2):
            yield from map(self.own.run, errands)
            return
        if self._pool is None:
            begin = (self.own.recipe, os.getpid())
            self._pool = ProcessPoolExecutor(self._jobs, get_context("spawn"), _start, begin)
        try:
            for ticket in as_completed([self._pool.submit(_run, errand) for errand in errands]):
                yield ticket.result()
        except BrokenProcessPool as error:
            raise OutOfMemory(
                "a worker process died, perhaps for want of memory; what is done is kept: run it with fewer --jobs"
            ) from error


@dataclass
class _Process:
    """What a worker process holds between errands."""

    worker: Worker | None = field(default=None)


_PROCESS = _Process()


def _start(recipe: Recipe, parent: int) -> None:
    """Makes a fresh process a worker, which ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word; the parent says one
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(recipe.threads)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    _PROCESS.worker = Worker(recipe)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _run(errand: Errand) -> Done:
    if _PROCESS.worker is None:
        raise RuntimeError("the worker process was not started with a recipe")
    return _PROCESS.worker.run(errand)
