"""Each limit lets through what is at it, refuses what is past it, and is in the document."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import zstandard

from archives import Zipped, fill, tar_of, zipped
from codex_session_sync.package.members import DEFAULT_LIMITS, Limits
from hostile.corpus import SNAPSHOT, SOUND, VICTIM, sound
from hostile.judging import EMPTY, Court
from hostile.layouts import files_of

DOCUMENT = Path(__file__).parents[2] / "references" / "packages.md"
FILES = files_of(replace(sound(VICTIM, SOUND), database={}), SNAPSHOT)
INDEX = "session_index.jsonl"
MARKED = re.compile(r"^\| [^|]+ \| ([^|]+) \| (`[^|]+) \|$", re.MULTILINE)

Edge = tuple[int, tuple[str, ...]]
"""The least that a limit may be for the package to be read, and other limits that it takes."""


def folder(measure: Callable[[], int]) -> Callable[[Path], Edge]:
    """A directory with the sound files."""

    def build(place: Path) -> Edge:
        fill(place, FILES)
        return measure(), ()

    return build


def archive(place: Path) -> Edge:
    place.write_bytes(tar_of(FILES))
    return len(FILES), ()


def compressed(place: Path) -> int:
    """A directory with a transcript that is compressed far; how large that is, unpacked."""
    data = VICTIM.data() + b"\n" * (1 << 16)
    name = f"sessions/2026/03/02/{VICTIM.file_name}.zst"
    fill(place, {name: zstandard.compress(data)})
    return len(data)


def times(place: Path) -> Edge:
    size = compressed(place)
    [file] = place.glob("sessions/**/*.zst")
    return -(-size // file.stat().st_size), ("--limit", "ratio_from=1")


def judged_from(place: Path) -> Edge:
    return compressed(place), ("--limit", "ratio=1")


def window(place: Path) -> Edge:
    parameters = zstandard.ZstdCompressionParameters(window_log=21, write_content_size=False)
    out = io.BytesIO()
    engine = zstandard.ZstdCompressor(compression_params=parameters)
    with engine.stream_writer(out, closefd=False) as stream:
        stream.write(tar_of(FILES))
    place.write_bytes(out.getvalue())
    return 1 << 21, ()


def directory(place: Path) -> Edge:
    others = [Zipped(f"{number:0200}.bin", b"") for number in range(5000)]
    data = zipped(*[Zipped(name, data) for name, data in FILES.items()], *others)
    place.write_bytes(data)
    [size] = struct.unpack_from("<I", data, len(data) - 10)
    assert size > 1 << 20
    return int(size), ()


EDGES: dict[str, Callable[[Path], Edge]] = {
    "files": folder(lambda: len(FILES)),
    "members": archive,
    "total_bytes": folder(lambda: sum(map(len, FILES.values()))),
    "file_bytes": folder(lambda: max(map(len, FILES.values()))),
    "ratio": times,
    "ratio_from": judged_from,
    "name_bytes": folder(lambda: max(map(len, FILES))),
    "depth": folder(lambda: max(name.count("/") for name in FILES) + 1),
    "window_bytes": window,
    "metadata_bytes": folder(lambda: len(FILES[INDEX])),
    "directory_bytes": directory,
}


def test_every_limit_has_an_edge_here() -> None:
    assert list(EDGES) == [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", EDGES)
def test_at_and_past(name: str, tmp_path: Path) -> None:
    court = Court(tmp_path / "court")
    package = court.root / "scratch" / "package"
    least, more = EDGES[name](package)
    with court.home(EMPTY) as home:
        for value, expected in ((least, 0), (least - 1, 3)):
            limit = ("--limit", f"{name}={value}")
            done = court.run(home, "inspect-package", package, *more, *limit, "--json")
            assert done.exit_code == expected, done.out
        assert done.codes == ["package_unsafe"]
        [error] = done.envelope["errors"]
        assert f"--limit {'ratio' if name == 'ratio_from' else name}=N" in error["hint"]


def test_the_document_tells_the_defaults() -> None:
    told: dict[str, str] = {}
    for values, names in MARKED.findall(DOCUMENT.read_text(encoding="utf-8")):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), values)
    assert set(told) >= set(EDGES)
    assert told["ratio"] == f"{DEFAULT_LIMITS.ratio} times"
    for name in EDGES:
        value = getattr(DEFAULT_LIMITS, name)
        shown = {f"{value:,}", f"{value:,} bytes", f"{value >> 20} MiB", f"{value >> 30} GiB"}
        assert name.startswith("ratio") or told[name] in shown, name
