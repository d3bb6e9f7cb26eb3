"""A directory as an archive, made by Python's own modules as a person would make it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import zstandard

KINDS = ("tar", "tar.gz", "tar.zst", "zip")


def archive(folder: Path, target: Path) -> Path:
    """Write `target`, whose ending says the kind, with `folder` as its only top member."""
    kind = next(kind for kind in reversed(KINDS) if target.name.endswith(f".{kind}"))
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in _files(folder):
                zipped.write(path, path.relative_to(folder.parent))
        return target
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "tar.gz" else "w") as tarred:
        tarred.add(folder, folder.name)
    data = buffer.getvalue()
    target.write_bytes(zstandard.compress(data) if kind == "tar.zst" else data)
    return target


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
