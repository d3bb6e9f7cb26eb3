"""Many sessions read at once, by other processes where there is much to read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from .codex.inventory import SegmentLookup
from .errors import SessionError
from .model import RolloutFile, Transcript
from .scan_cache import Kept
from .scan_state import load
from .scanning import Progress
from .transcript import Wanted, kept, known, read, wanted

if TYPE_CHECKING:
    from .parallel import Result

WORTHWHILE_BYTES = 32 << 20
"""What must be read for processes to be started; they take as long as some megabytes."""

Read = Transcript | SessionError


def scan_all(
    tips: Sequence[RolloutFile], lookup: SegmentLookup, progress: Progress | None = None
) -> list[Read]:
    """What ``scan`` finds of each session, or the error that it raises.

    Raises PackageError where the package is unsafe as a whole.
    """
    found = dict(scan_each(tips, lookup, progress))
    return [found[place] for place in range(len(tips))]


def scan_each(
    tips: Sequence[RolloutFile], lookup: SegmentLookup, progress: Progress | None = None
) -> Generator[tuple[int, Read], None, None]:
    """As ``scan_all``, each with its place as soon as it is read; none is kept here."""
    left: dict[int, Wanted] = {}
    for place, tip in enumerate(tips):
        try:
            one = wanted(tip, lookup)
            transcript = known(one, progress)
        except SessionError as error:
            yield place, error
            continue
        if transcript is None:
            left[place] = one
        else:
            yield place, transcript
    with closing(_parallel(left)) as results:
        for place, result in results:
            if progress:
                progress(left[place].size)
            yield place, _taken(left.pop(place), result)
    for place, one in left.items():
        try:
            transcript = kept(one, read(one.slices, one.mode, progress))
        except SessionError as error:
            yield place, error
        else:
            yield place, transcript


def _taken(one: Wanted, result: Result) -> Read:
    if isinstance(result, list):
        state = load(Kept.of(result), one.slices, None)
        assert state is not None
        return kept(one, state, result)
    if isinstance(result, SessionError):
        return result
    raise result


def _parallel(left: dict[int, Wanted]) -> Generator[tuple[int, Result], None, None]:
    """What other processes find; the sessions that are not told are still to be read."""
    if len(left) > 1 and sum(one.size for one in left.values()) >= WORTHWHILE_BYTES:
        from .parallel import read_in_processes

        yield from read_in_processes(left)
