#!/usr/bin/env python3
"""Makes a release: the wheel, and the archive of the skill, in a folder: make_release.py FOLDER.

The archive unpacks to the folder ``codex-session-sync``, ready to be put below the skills of a
Codex home. Both are the same to the byte for the same commit; ``SHA256SUMS`` tells their digests.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import runpy
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "codex-session-sync"
SKILL = ("SKILL.md", "README.md", "LICENSE", "pyproject.toml", "agents", "references", "scripts")
"""What a user of the skill needs; tests and what belongs to the repository stay behind."""

_EXECUTABLE, _PLAIN = 0o100755, 0o100644
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the archive: the first that it can hold."""


def version() -> str:
    """The version that pyproject.toml states."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def tracked() -> list[str]:
    """The files of the skill that the repository has, in order."""
    command = ["git", "ls-files", "-z", "--", *SKILL]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})


def make_skill(folder: Path) -> Path:
    """Write the archive of the skill. Returns where it is."""
    path = folder / f"{NAME}-{version()}-skill.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in tracked():
            source = ROOT / name
            member = zipfile.ZipInfo(f"{NAME}/{name}", _BEGINNING)
            member.create_system = 3
            mode = _EXECUTABLE if source.stat().st_mode & 0o100 else _PLAIN
            member.external_attr = mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, source.read_bytes())
    return path


def make_wheel(folder: Path) -> Path:
    """Build the wheel, by what pyproject.toml names. Returns where it is."""
    stamp = {"SOURCE_DATE_EPOCH": "315532800"}
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--wheel",
            "--outdir",
            scratch,
            str(ROOT),
        ]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **stamp})
        [made] = Path(scratch).glob("*.whl")
        path = folder / made.name
        path.write_bytes(made.read_bytes())
    return path


def _python() -> str:
    """The interpreter of the environment that the tests run in."""
    sys.path.insert(0, str(ROOT / "scripts"))
    launcher = runpy.run_path(str(ROOT / "scripts" / "codex-session-sync"))
    folder = "Scripts" if sys.platform == "win32" else "bin"
    return str(Path(launcher["environment"](str(ROOT), "dev")) / folder / "python")


def main() -> int:
    """Make both, and tell where they are."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    if importlib.util.find_spec("build") is None:
        return subprocess.call([_python(), __file__, *sys.argv[1:]])
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    made = [make_wheel(folder), make_skill(folder)]
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in made]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n", "ascii")
    for path in (*made, folder / "SHA256SUMS"):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
