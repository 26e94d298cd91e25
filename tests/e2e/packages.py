"""The upload frameworks of the tests, at pinned versions: fetched by npm's own client, checked, kept in the cache.

Nothing is bundled: pages use each package's own files, in the browser's own modules or as classic scripts.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pmask.folders import cache_dir

FETCH_TIMEOUT_S = 120


@dataclass(frozen=True)
class Package:
    """One package of the npm registry. ``sha512`` is of its tarball, in base64, as npm writes it."""

    name: str
    version: str
    sha512: str

    @property
    def folder(self) -> Path:
        return cache_dir() / "npm" / f"{self.name.replace('/', '+')}@{self.version}"


PACKAGES = {
    "react": Package(
        "react", "18.3.1", "wS+hAgJShR0KhEvPJArfuPVN1+Hz1t0Y6n5jLrGQbkb4urgPE/0Rve+1kMB1v/oWgHgm4WIcV+i7F2pTVj+2iQ=="
    ),
    "react-dom": Package(
        "react-dom",
        "18.3.1",
        "5m4nQKp+rZRb09LNH59GM4BxTh9251/ylbKIbpe7TpGxfJ+9kv6BLkLBXIjjspbgbnIBNqlI23tRnTWT0snUIw==",
    ),
    "react-dropzone-14": Package(
        "react-dropzone",
        "14.4.1",
        "QDuV76v3uKbHiH34SpwifZ+gOLi1+RdsCO1kl5vxMT4wW8R82+sthjvBw4th3NHF/XX6FBsqDYZVNN+pnhaw0g==",
    ),
    "react-dropzone": Package(
        "react-dropzone",
        "20.1.4",
        "LyjT9iQySNkJGC6yL+XTlmfTRxHhPx0eSoTh+WlR0Ge+W35rLcRH/oH7w5bzijfPHeCFcLnO9G7i+hX+LINAAA==",
    ),
    "file-selector": Package(
        "file-selector",
        "5.0.1",
        "v0g/PTeuQgvKCBrVRsfVudvwXlRHSWHEQkVgKawgCGHkEpKA1clp3Om5jvEVhz8G9W/mOYjJH9FhkH4C888PgQ==",
    ),
    "attr-accept": Package(
        "attr-accept",
        "4.0.1",
        "rOKAGOwbnTUvwTL8rNA0hWnU3uX9tOI20di4KjR5I1ez/RJmnA37W3zz4EMxGC2YnI289yPjRy63CdAZeQFZ4Q==",
    ),
    "prop-types": Package(
        "prop-types",
        "15.8.1",
        "oj87CgZICdulUohogVAR7AjlC0327U4el4L6eAvOqCeudMDVU0NThNaV+b9Df4dXgSP1gXMTnPdhfe/2qDH5cg==",
    ),
    "vue": Package(
        "vue", "3.5.45", "3cvsib8m9c0vB24+MDKsgcW4+Da4xaBl9Z/5Tbm2pmSIsRPxcil4cdXjXlVsmJ2g64XJo5h+IRd7rsdGT9pZaw=="
    ),
    "svelte": Package(
        "svelte", "5.57.3", "5mAftM3SoDV9X0zdF386F9p2pv8iKOwi/KfBS1XnBAkVCKFzVOLHUoa8iGWAt4buoicLmyWVRpuuD5wplXOQsg=="
    ),
    "esm-env": Package(
        "esm-env", "1.2.2", "Epxrv+Nr/CaL4ZcFGPJIYLWFom+YeV1DqMLHJoEd9SYRxNbaFruBwfEX/kkHUJf55j2+TUbmDcmuilbP1TmXHA=="
    ),
    "clsx": Package(
        "clsx", "2.1.1", "eYm0QWBtUrBWZWG0d386OGAw16Z995PiOVo2B7bjWSbHedGl5e0ZWaq65kOGgUSNesEIDkB9ISbTg/JK9dhCZA=="
    ),
    "uppy": Package(
        "uppy", "6.0.1", "2OONMUNUHGBNkfSjNpWDhleeCeqm2oP+8NJRSxkkFVLmm3BbE7S+XCm45+jp36z7PCRuogtm1FgYPKa0iKbYAQ=="
    ),
    "filepond": Package(
        "filepond",
        "4.32.12",
        "wro0/deLwua9CkL7HJygOlDaPo1c7Ov8kfzbZjH7m4hdi56gdHGDeRWnYa+qXnRm3Lty69gUGVFb3JZy/9vT8g==",
    ),
    "dropzone": Package(
        "dropzone", "6.3.5", "voAoyVj3ZyFwoUVkKMmtfCrp7gbjqKJv3gNCsz0lW1lApcmKILBCbCgBU64hJF4LC4+cs6+peXhsn122fPQqsw=="
    ),
    "blueimp-file-upload": Package(
        "blueimp-file-upload",
        "10.32.0",
        "3WMJw5Cbfz94Adl1OeyH+rRpGwHiNHzja+CR6aRWPoAtwrUwvP5gXKo0XdX+sdPE+iCU63Xmba88hoHQmzY8RQ==",
    ),
    "jquery": Package(
        "jquery", "3.7.1", "m4avr8yL8kmFN8psrbFFFmB/If14iN5o9nw/NgnnM+kybDJpRsAynV2BsfpTYrTRysYUdADVD7CkUUizgkpLfg=="
    ),
    "@tiptap/core": Package(
        "@tiptap/core",
        "3.34.0",
        "PwpE5MAXt586AxIO5bW2RyJ3OUXdPfG5M1M5v/LIMCkDwIgRKegx8uERlABoI6575mWqaH/P6Xm+tequJ5UUnw==",
    ),
    "@tiptap/pm": Package(
        "@tiptap/pm",
        "3.34.0",
        "/r64RekPVaLw/YUjGes8tH5voz5PYWLW6gahMf+nDZKs6nK4RtoZ4O6YFI+nV8XD1hygseQZPeJkT5OOkI4AdA==",
    ),
    "zone.js": Package(
        "zone.js", "0.16.3", "ihXL9+vhYyEhXz4TDNpHeAOZN9FVrbog0Il64OIEI28UP/n5AaI6gsccRuOHBfx+206agzyoK527bYIO0Foy6A=="
    ),
    "prosemirror-commands": Package(
        "prosemirror-commands",
        "1.7.2",
        "q6Q6szxqdu9Xd6EcdKsqXghu5nQdZTpB4Q9yd04WRc7/jt763e/rT60Owh0L1GYY+T46o5rD+9lEN36dZS43tw==",
    ),
    "prosemirror-history": Package(
        "prosemirror-history",
        "1.5.1",
        "onlwnqKvgtFg6srZOmDOAhlAy1FIHQpOExORybX0S+DvJepE5tPALrB9iGet/2sqqqrelSnB10OoiOJqAvu2DA==",
    ),
    "prosemirror-keymap": Package(
        "prosemirror-keymap",
        "1.2.3",
        "4HucRlpiLd1IPQQXNqeo81BGtkY8Ai5smHhKW9jjPKRc2wQIxksg7Hl1tTI2IfT2B/LgX6bfYvXxEpJl7aKYKw==",
    ),
    "prosemirror-model": Package(
        "prosemirror-model",
        "1.25.13",
        "MlDMWGjYXaYOeCiO17jcybntCOzPnN+97U0809ke2QsgPtxW3n5/sD6ZKyJONUgMw1iP93ohZTjeKjnRJ7L6kQ==",
    ),
    "prosemirror-schema-list": Package(
        "prosemirror-schema-list",
        "1.6.0",
        "G1srDtan+VqWn+qpmWFj/6j0YsZ5zMU+ZIlGVIW41a5JF2jAI3jzfMRWmSABmEH2Qoq1PmAG/o2mucMMdLOsLg==",
    ),
    "prosemirror-state": Package(
        "prosemirror-state",
        "1.4.4",
        "6jiYHH2CIGbCfnxdHbXZ12gySFY/fz/ulZE333G6bPqIZ4F+TXo9ifiR86nAHpWnfoNjOb3o5ESi7J8Uz1jXHw==",
    ),
    "prosemirror-transform": Package(
        "prosemirror-transform",
        "1.12.6",
        "Npot0uIQTDObbDLCiw3TUc08EIT1jNcqbuadG+y5T4jT+4NN8f46AP5h/x+6wE++q7NcW8++oBvc1M0wXvFD/g==",
    ),
    "prosemirror-view": Package(
        "prosemirror-view",
        "1.42.9",
        "bKbfzeKZOu2H2JQU2TaJmYu6EBcor3VnGIR4jR31cbEt1ztUnfUB6bKGV1+fJzOJdrVWR+tRU0208zM3oQx4wA==",
    ),
    "orderedmap": Package(
        "orderedmap",
        "2.1.1",
        "TvAWxi0nDe1j/rtMcWcIj94+Ffe6n7zhow33h40SKxmsmozs6dz/e+EajymfoFcHd7sxNn8yHM8839uixMOV6g==",
    ),
    "rope-sequence": Package(
        "rope-sequence",
        "1.3.4",
        "UT5EDe2cu2E/6O4igUr5PSFs23nvvukicWHx6GnOPlHAiiYbzNuCRQCuiUdHJQcqKalLKlrYJnjY0ySGsXNQXQ==",
    ),
    "w3c-keyname": Package(
        "w3c-keyname",
        "2.2.8",
        "dpojBhNsCNN7T82Tm7k26A6G9ML3NkhDsnw9n/eoxSRlVBB4CEtIQ/KTCLI2Fwf3ataSXRhYFkQi3SlnFwPvPQ==",
    ),
    "@tiptap/extension-file-handler": Package(
        "@tiptap/extension-file-handler",
        "3.32.0",
        "qjXCPOWfUPedHHVzDBfSP0uOOsevTI5KWjqdHNLJDkUl8O7ADMHDpoUZESxQSmInfyaQCTkKbYVz+qCS49D9fA==",
    ),
}
"""Under the name that pages use: ``/pmask-demo/npm/NAME/FILE``."""


class Unreachable(Exception):
    """npm is not installed, or did not get the package."""


@functools.cache
def fetched(key: str) -> Path:
    """The package's folder. Raises Unreachable; ValueError where the registry gave other bytes than were pinned."""
    package = PACKAGES[key]
    if package.folder.is_dir():
        return package.folder
    npm = shutil.which("npm")
    if npm is None:
        raise Unreachable("npm is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", scratch]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S)
        except (subprocess.SubprocessError, OSError) as error:
            raise Unreachable(f"npm could not fetch {package.name}@{package.version}: {error}") from error
        [tarball] = Path(scratch).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if digest != package.sha512:
            raise ValueError(f"{package.name}@{package.version} is not the package that was pinned: sha512-{digest}")
        package.folder.parent.mkdir(parents=True, exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(dir=package.folder.parent))
        with tarfile.open(tarball) as archive:
            archive.extractall(unpacked, filter="data")
        [inside] = unpacked.iterdir()  # mostly "package"
        if not package.folder.exists():
            inside.rename(package.folder)
        shutil.rmtree(unpacked)
    return package.folder
