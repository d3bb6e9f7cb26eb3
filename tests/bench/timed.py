"""Runs one command and writes what it took; run by ``measuring`` under a Python that is small.

    python -I -S timed.py RESULT OUT ERRORS COMMAND [ARGUMENT ...]

A process is told at least the memory of the one that started it, so this one imports next to
nothing. RESULT gets one line of JSON, OUT and ERRORS what the command says. Needs Linux.
"""

import _thread
import json
import os
import sys
import time

INTERVAL = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """The most memory that a process and its descendants had together, looked at now and then.

    Pages that several of them share count once for each, so it is at most this.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.most = 0

    def look(self) -> None:
        """Look until the process that looks ends."""
        while True:
            time.sleep(INTERVAL)
            self.most = max(self.most, self._together())

    def _together(self) -> int:
        # Who is started later has a greater number, until the numbers begin anew.
        family, total = {self.pid}, 0
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib takes memory
        for pid in sorted(int(name) for name in names if name.isdecimal()):
            if pid < self.pid:
                continue
            try:
                parent = int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
                if pid != self.pid and parent not in family:
                    continue
                total += int(_read(f"/proc/{pid}/statm").split()[1]) * PAGE
            except (OSError, IndexError):
                continue  # it ended meanwhile
            family.add(pid)
        return total


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def main() -> None:
    """Run the command and write the result. Raises OSError if it cannot be started."""
    result, out, errors, *command = sys.argv[1:]
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, new, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, errors, new, 0o600),
    ]
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=files)
    watch = Watch(pid)
    _thread.start_new_thread(watch.look, ())
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    peak = used.ru_maxrss * 1024
    told = {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": peak,
        "together": max(peak, watch.most),
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w") as file:  # noqa: PTH123
        json.dump(told, file)


if __name__ == "__main__":
    main()
