"""Makes the package that ``demo`` shows: ``scripts/codex_session_sync/sample/garden.tar.zst``.

Run it again after a change here; the same sessions give the same bytes.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import zstandard

sys.path.insert(0, str(Path(__file__).parent))

from builders import START, Session, write_transfer

TARGET = Path(__file__).parents[1] / "scripts/codex_session_sync/sample/garden.tar.zst"


def sessions() -> list[Session]:
    """Four sessions: a plain one, its fork, a legacy one with a name, an archived one."""
    beans = (
        Session(1, name="Climbing beans")
        .say("Which beans climb?", "Runner beans and pole beans do; give them two metres.")
        .say("When do I sow them?", "After the last frost, in soil of at least ten degrees.")
    )
    dwarf = beans.fork(2).say(
        "And if I have no poles?", "Then take dwarf beans; they stand by themselves."
    )
    beans = beans.say("How deep?", "Three centimetres, eye down.")
    roses = Session(3, legacy=True, start=300, name="Roses").say(
        "When do I prune roses?", "When the forsythia blooms."
    )
    compost = Session(4, start=900, archived=True).say(
        "What must not go on the compost?", "Meat, cooked food and diseased plants."
    )
    return [beans, dwarf, roses, compost]


def make(target: Path) -> None:
    """Write the package: a tar of the first-import layout, compressed."""
    with tempfile.TemporaryDirectory() as folder:
        package = write_transfer(Path(folder) / "garden", sessions())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(package.rglob("*")):
                if path.is_file():
                    info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                    info.size = path.stat().st_size
                    info.mtime = int(START.timestamp())
                    archive.addfile(info, io.BytesIO(path.read_bytes()))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(zstandard.ZstdCompressor(level=19).compress(buffer.getvalue()))


if __name__ == "__main__":
    make(TARGET)
    print(TARGET, TARGET.stat().st_size)
