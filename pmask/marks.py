"""What results were made by: marks of the library's own code, so that what was kept is never taken for what other code
would make. Loads nothing heavy."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache
def code_mark(*names: str) -> str:
    """Changes whenever code of these modules or folders of the library does; comments and docstrings do not count."""
    files = _code()
    parts = [part for part in files if any(part == f"{name}.py" or part.startswith(f"{name}/") for name in names)]
    return hashlib.sha256("\0".join(f"{part} {files[part]}" for part in parts).encode()).hexdigest()[:12]


@lru_cache
def _code() -> dict[str, str]:
    """What the library's files held when they were first asked for, which is when a process starts its work: by path
    inside the library, a checksum."""
    root = Path(__file__).parent
    files = [path for path in sorted(root.rglob("*.*")) if path.suffix in {".py", ".npz"}]
    return {path.relative_to(root).as_posix(): hashlib.sha256(_content(path)).hexdigest() for path in files}


def _content(path: Path) -> bytes:
    """The bytes of a file; of a module, its syntax tree without docstrings."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _is_words(part)] or [ast.Pass()]
    return ast.dump(tree).encode()


def _is_words(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
