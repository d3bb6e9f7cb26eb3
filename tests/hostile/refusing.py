"""Native packages that are refused, and where in one is what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import package_by_spec as spec
from codex_session_sync.errors import ExitCode
from workbench import call, tree


def refused(home: Path, data: bytes, *options: str) -> str:
    """The code and message with which a package is refused; the home stays as it is."""
    package = home.parent / "package"
    package.write_bytes(data)
    before = tree(home)
    arguments = ("sync", package, "--execute", "--no-prime", "--codex-home", home, "--json")
    outcome = call(*arguments, *options)
    assert outcome.exit_code == ExitCode.PACKAGE, outcome.out
    assert tree(home) == before
    looked = call("inspect-package", package, "--codex-home", home, "--json")
    assert looked.exit_code in (ExitCode.OK, ExitCode.PACKAGE), looked.out
    [error] = outcome.envelope["errors"]
    assert error["hint"]
    return f"{error['code']}: {error['message']}"


def places(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Each stretch of a package: what it is, where it begins and ends."""
    manifest, _ = spec.read(data)
    yield "header", 0, spec.HEADER_BYTES
    for part in manifest["parts"]:
        yield part["name"], part["offset"], part["offset"] + part["length"]
    end = len(data) - spec.TRAILER_BYTES
    yield "manifest", part["offset"] + part["length"], end
    yield "trailer", end, len(data)
