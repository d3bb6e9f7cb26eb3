"""Brings many small packages into a home, each as a transaction of its own.

    python aging.py HOME COUNT

HOME has a database. What comes in is 30 sessions that go on by a turn in their turn.
"""

import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts")]

from builders import Session, write_snapshot  # noqa: E402
from codex_session_sync.cli.main import run  # noqa: E402

SESSIONS = 30


def main() -> None:
    """Sync one package after the other."""
    home, count = sys.argv[1], int(sys.argv[2])
    sessions = [Session(number + 100, start=10 * number) for number in range(SESSIONS)]
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package")
        for number in range(count):
            place = number % SESSIONS
            sessions[place] = sessions[place].say(f"{number}: and on")
            write_snapshot(package, [sessions[place]])
            command = ("sync", str(package), "--execute", "--no-prime", "--codex-home", home)
            with redirect_stdout(StringIO()):
                code = run(command)
            assert code == 0
            shutil.rmtree(package)


if __name__ == "__main__":
    main()
