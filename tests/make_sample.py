"""Makes the packages that ``demo`` shows, in ``scripts/codex_session_sync/sample/``.

Run it again after a change here; the same sessions give the same bytes.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import zstandard

sys.path.insert(0, str(Path(__file__).parent))

from builders import START, Session, write_transfer

TARGET = Path(__file__).parents[1] / "scripts/codex_session_sync/sample"


BEANS = (
    Session(1, name="Climbing beans")
    .say("Which beans climb?", "Runner beans and pole beans do; give them two metres.")
    .say("When do I sow them?", "After the last frost, in soil of at least ten degrees.")
)
DWARF = replace(
    BEANS.fork(2).say("And if I have no poles?", "Then take dwarf beans; they need none."),
    name="Dwarf beans",
)
DEEP = BEANS.say("How deep?", "Three centimetres, eye down.")
ROSES = Session(3, legacy=True, start=300, name="Roses").say(
    "When do I prune roses?", "When the forsythia blooms."
)
COMPOST = Session(4, start=900, archived=True).say(
    "What must not go on the compost?", "Meat, cooked food and diseased plants."
)

PACKAGES = {
    # A plain session, its fork, a legacy one with a name, an archived one.
    "garden": [DEEP, DWARF, ROSES, COMPOST],
    # The plain one went on elsewhere.
    "garden-tablet": [DEEP.say("And how far apart?", "A hand's breadth.")],
    # It went another way where it came from, and the legacy one went on.
    "garden-later": [
        DEEP.say("How often do I water them?", "Every other day once they flower."),
        ROSES.say("And climbing roses?", "In late winter; leave the long shoots."),
    ],
}


def make(name: str, sessions: list[Session]) -> Path:
    """Write one package: a tar of the first-import layout, compressed."""
    with tempfile.TemporaryDirectory() as folder:
        package = write_transfer(Path(folder) / name, sessions)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(package.rglob("*")):
                if path.is_file():
                    info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                    info.size = path.stat().st_size
                    info.mtime = int(START.timestamp())
                    archive.addfile(info, io.BytesIO(path.read_bytes()))
    TARGET.mkdir(exist_ok=True)
    target = TARGET / f"{name}.tar.zst"
    target.write_bytes(zstandard.ZstdCompressor(level=19).compress(buffer.getvalue()))
    return target


if __name__ == "__main__":
    for name, sessions in PACKAGES.items():
        made = make(name, sessions)
        print(made, made.stat().st_size)
