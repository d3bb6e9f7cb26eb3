"""Writing transcripts to where they wait until they are put in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import BinaryIO

from .codex.home import CodexHome
from .codex.inventory import open_rollout
from .codex.rollout import RolloutName, format_name, parse_time
from .compose import Sink, Written, compose
from .continuation import Continuation
from .foreseen import Foreseen
from .localize import Identity, Rewriter
from .model import RolloutFile, Transcript
from .planned import Action, SessionPlan, Target, brings_metadata_only
from .terms import Terms

Progress = Callable[[int], None]

LATEST_NS = (1 << 63) - 1
"""The latest time that file systems hold, in the year 2262; texts can name later ones."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A session's new bytes, staged as ``name``, and the place that they are for.

    ``path`` is POSIX, relative to the home. ``extends``: they are to be appended to the file there;
    else they are a whole transcript; ``written`` None: there are none, and the file stays as it is.
    ``size`` is that of the transcript afterwards.
    """

    plan: SessionPlan
    transcript: Transcript
    target: Target
    name: str
    path: str
    extends: bool
    written: Written | None
    size: int
    mtime_ns: int
    removed: tuple[str, ...]
    foreseen: Foreseen | None = None
    """Of a whole transcript: what a scan will find of it."""


@dataclass(frozen=True, slots=True)
class Stager:
    """Stages the sessions of one transaction in ``folder``."""

    home: CodexHome
    folder: Path
    terms: Terms
    progress: Progress | None = None
    _numbers: count[int] = field(default_factory=count)

    def stage(self, plan: SessionPlan) -> Staged:
        """Write what a plan adds to the home. Raises SessionError, OSError; then nothing stays."""
        transcript, target = plan.transcript, plan.target
        assert isinstance(transcript, Transcript)
        assert target is not None
        transcript = self._at_hand(transcript)
        identity = Identity(target.session_id, target.branch_of, target.moved)
        if target.local is not None:
            adapted = self.terms.adaptation.staying(plan.cwd, transcript.meta, target.local.meta)
        else:
            adapted = self.terms.adaptation.settled(transcript.facts.last_cwd, plan.cwd)
        rewriter = Rewriter(
            transcript, self.terms.policy, identity, adapted, self.home, self.terms.legacy_only
        )
        name = str(next(self._numbers))
        if brings_metadata_only(plan):
            return self._unextended(plan, target, rewriter, name)
        path = self.folder / name
        try:
            with path.open("xb") as stream:
                if plan.action is Action.FAST_FORWARD:
                    staged = self._continuation(plan, target, rewriter, stream, name)
                else:
                    staged = self._whole(plan, target, rewriter, stream, name)
            os.utime(path, ns=(staged.mtime_ns, staged.mtime_ns))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return staged

    def _at_hand(self, transcript: Transcript) -> Transcript:
        """The transcript, its local files where earlier sessions of the transaction left them."""
        if all(self._stands(part.slice.file) for part in transcript.slices):
            return transcript
        rollouts = self.home.rollouts()
        slices = []
        for part in transcript.slices:
            file = part.slice.file
            if not file.path.exists():
                file = rollouts.segment(file.segment_id) or file
            slices.append(replace(part, slice=replace(part.slice, file=file)))
        return replace(transcript, slices=tuple(slices))

    def _stands(self, file: RolloutFile) -> bool:
        """Whether a file is where it was listed; those of a package are not moved by us."""
        return not self.home.holds(file.path) or file.path.exists()

    def _unextended(
        self, plan: SessionPlan, target: Target, rewriter: Rewriter, name: str
    ) -> Staged:
        """A session of which only metadata changes."""
        assert target.local is not None
        local = _where_it_is(target.local)
        path = local.file.path.relative_to(self.home.path).as_posix()
        target = replace(target, local=local)
        return self._staged(plan, target, rewriter, name, path, None, extends=False)

    def _whole(
        self, plan: SessionPlan, target: Target, rewriter: Rewriter, stream: BinaryIO, name: str
    ) -> Staged:
        foreseen = Foreseen(rewriter.transcript)
        written = compose(rewriter, stream, self.progress, foreseen=foreseen)
        file = rewriter.transcript.file
        rollout = RolloutName(file.stamp, target.session_id, target.session_id, compressed=False)
        path = self.home.rollout_path(
            rollout,
            format_name(file.stamp, target.session_id),
            archived=plan.session.archived,
        )
        staged = self._staged(plan, target, rewriter, name, path, written, extends=False)
        return replace(staged, foreseen=foreseen)

    def _continuation(
        self, plan: SessionPlan, target: Target, rewriter: Rewriter, stream: BinaryIO, name: str
    ) -> Staged:
        local = target.local
        assert local is not None
        path = local.file.path.relative_to(self.home.path).as_posix()
        rest = Continuation(rewriter, local, plan.decision.common_entries)
        if not local.file.compressed:
            written = rest.write(Sink(stream, self.progress))
            return self._staged(plan, target, rewriter, name, path, written, extends=True)
        sink = Sink(stream, self.progress)
        with open_rollout(local.file) as old:
            while chunk := old.read(1 << 20):
                sink.write(chunk)
        written = rest.write(sink)
        plain = path.removesuffix(".zst")
        return self._staged(plan, target, rewriter, name, plain, written, extends=False)

    def _staged(
        self,
        plan: SessionPlan,
        target: Target,
        rewriter: Rewriter,
        name: str,
        path: str,
        written: Written | None,
        *,
        extends: bool,
    ) -> Staged:
        local = target.local
        before = local.size if local is not None else 0
        if local is not None and written is not None and not extends:
            before -= local.slices[-1].size
        return Staged(
            plan,
            rewriter.transcript,
            target,
            name,
            path,
            extends,
            written,
            before + (written.size if written else 0),
            _last_moment(rewriter.transcript, local),
            tuple(sorted(rewriter.removed)),
        )


def _where_it_is(local: Transcript) -> Transcript:
    """A local session, in the plain file that has taken the place of its compressed one.

    Another session of the package may have extended it, in an earlier batch.
    """
    file = local.file
    plain = file.path.with_name(file.name.removesuffix(".zst"))
    if not file.compressed or file.path.exists() or not plain.is_file():
        return local
    status = plain.stat()
    found = replace(file, path=plain, name=plain.name, compressed=False)
    found = replace(found, size=status.st_size, mtime_ns=status.st_mtime_ns)
    *older, newest = local.slices
    newest = replace(newest, slice=replace(newest.slice, file=found))
    return replace(local, slices=(*older, newest))


def _last_moment(incoming: Transcript, local: Transcript | None) -> int:
    """The time of the last record in ns: Codex takes the file's time for the last activity."""
    known = [t.facts.last_timestamp for t in (incoming, local) if t is not None]
    moments = [moment for timestamp in known if (moment := parse_time(timestamp)) is not None]
    found = incoming.file.mtime_ns
    if moments:
        found = int(max(moments).timestamp() * 1000) * 1_000_000
    return min(max(found, 0), LATEST_NS)
