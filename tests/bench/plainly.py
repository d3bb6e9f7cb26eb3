"""Brings sessions into a home plainly: every line parsed and written again, every row copied.

    python plainly.py SOURCE TARGET

What a program does that keeps no journal, compares nothing and waits for no disk: what
``sync --execute`` is measured beside. TARGET has a database; the standard library is enough.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

DATABASE = "state_5.sqlite"


def rewritten(source: Path, cwd: str) -> Iterator[str]:
    """The lines of a transcript as they are written again, in another directory."""
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["type"] in ("session_meta", "turn_context"):
                record["payload"]["cwd"] = cwd
            yield json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"


def main() -> None:
    """Copy transcripts and rows."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    for path in sorted(source.glob("sessions/**/*.jsonl")):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8") as out:
            out.writelines(rewritten(path, "/home/bob/garden"))
    with closing(sqlite3.connect(target / DATABASE)) as connection, connection:
        connection.execute("ATTACH ? AS source", (str(source / DATABASE),))
        there = {row[1] for row in connection.execute("PRAGMA source.table_info(threads)")}
        here = [row[1] for row in connection.execute("PRAGMA main.table_info(threads)")]
        names = ", ".join(name for name in here if name in there)
        connection.execute(f"INSERT INTO threads ({names}) SELECT {names} FROM source.threads")


if __name__ == "__main__":
    main()
