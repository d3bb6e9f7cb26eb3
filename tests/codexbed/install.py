"""Finds or installs the Codex releases the tests run against."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CURRENT = "0.169.0"
LEGACY = "0.118.0"

CACHE_VARIABLE = "CODEX_SESSION_SYNC_TEST_CACHE"
_INSTALL_SECONDS = 900


class CodexUnavailable(RuntimeError):  # noqa: N818
    """The real Codex cannot be had on this machine."""


_known: dict[str, Path | CodexUnavailable] = {}


def cache_directory() -> Path:
    """Return the directory that holds one folder per installed release."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache_home) / "codex-session-sync-tests"


def codex_binary(version: str) -> Path:
    """Return the executable of `@openai/codex@version`, installing it when it is not cached."""
    # A failure is kept as well: npm takes long to find out that it has no network.
    if version not in _known:
        try:
            _known[version] = _find(version)
        except CodexUnavailable as error:
            _known[version] = error
    known = _known[version]
    if isinstance(known, CodexUnavailable):
        raise known
    return known


def _find(version: str) -> Path:
    folder = cache_directory() / f"codex-{version}"
    if not folder.is_dir():
        _install(version, folder)
    found = _executable(folder)
    if found is None:
        raise CodexUnavailable(f"REAL CODEX {version} IS BROKEN: no executable below {folder}")
    return found


def require_codex(version: str = CURRENT) -> Path:
    """Return the executable; skip the test loudly if there is none, fail it on CI."""
    try:
        return codex_binary(version)
    except CodexUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _executable(folder: Path) -> Path | None:
    # The native program starts faster than the node wrapper; releases keep it in different places.
    vendor = sorted(folder.glob("node_modules/@openai/codex-*/vendor/*/*/codex"))
    if not vendor:
        vendor = sorted(folder.glob("node_modules/@openai/codex/vendor/*/*/codex"))
    wrapper = folder / "node_modules" / ".bin" / "codex"
    for path in [*vendor, wrapper]:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def _install(version: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CodexUnavailable(f"REAL CODEX {version} IS NOT TESTED: npm is not on the PATH")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".codex-{version}-", dir=folder.parent))
    try:
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(staged)]
        done = subprocess.run(
            [*command, f"@openai/codex@{version}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0 or _executable(staged) is None:
            said = " / ".join((done.stderr.strip() or "no message").splitlines()[:3])
            raise CodexUnavailable(f"REAL CODEX {version} IS NOT TESTED: npm install: {said}")
        _publish(staged, folder)
    except subprocess.TimeoutExpired as error:
        raise CodexUnavailable(f"REAL CODEX {version} IS NOT TESTED: npm hangs") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _publish(staged: Path, folder: Path) -> None:
    try:
        staged.rename(folder)
    except OSError:
        # Another worker was first; its folder is as good as ours.
        if _executable(folder) is None:
            raise
