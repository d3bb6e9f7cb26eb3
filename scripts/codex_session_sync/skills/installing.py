"""Putting skills of a package in place, each as a whole, in the transaction of its sync."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ..codex.home import CodexHome
from ..commit import Committer, Pair
from ..durable import safe_join, sync_all, sync_folder
from ..errors import PackageError, SyncError, told
from ..journal.log import STAGED, TRANSACTIONS, TransactionLog
from ..journal.operations import MakeFolder, MoveFolder
from ..model import Json
from ..package.skills import FOLDER
from ..planned import RESULT_OF_SKILL, SKILL
from ..trees import digest_of
from .comparing import SkillPlan, journaled, skill_json

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class SkillOutcome:
    """What became of one skill of a package."""

    plan: SkillPlan
    result: str
    code: str | None = None
    message: str | None = None
    hint: str | None = None

    def to_json(self) -> Json:
        """As reports show it."""
        return skill_json(self.plan, self.result)

    def journaled(self) -> Json:
        """As the journal keeps it."""
        return journaled(self.plan, self.result)


@dataclass(frozen=True, slots=True)
class StagedSkill:
    """A skill that waits in the transaction's folder under ``name``."""

    plan: SkillPlan
    name: str


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs skills in one transaction."""

    home: CodexHome
    log: TransactionLog
    _numbers: count[int] = field(default_factory=count)

    def run(self, plans: Sequence[SkillPlan]) -> Iterator[SkillOutcome]:
        """Install one skill after the other; yields what became of each that was to be written."""
        committer = Committer(self.home, self.log, None, self)
        for plan in plans:
            if not plan.writes:
                continue
            try:
                staged = self._stage(plan)
            except (SyncError, OSError) as error:
                yield _failed(plan, error)
                continue
            for one, problem in committer.commit([staged]):
                if problem is not None:
                    yield _failed(one.plan, problem)
                else:
                    yield SkillOutcome(one.plan, RESULT_OF_SKILL[one.plan.action])

    def settle(self, items: Sequence[StagedSkill]) -> None:
        """Make the staged files durable."""
        for item in items:
            found = [p for p in self._staged(item.name).rglob("*") if p.is_file()]
            sync_all(found)
            for folder in {path.parent for path in found}:
                sync_folder(folder)
        sync_folder(self.log.staged)

    def operations(self, items: Sequence[StagedSkill]) -> Iterable[Pair]:
        """What puts staged skills in place."""
        own = f"session-sync/{TRANSACTIONS}/{self.log.transaction_id}"
        for item in items:
            plan, key = item.plan, SKILL + item.plan.skill.name
            place = f"{FOLDER}/{plan.skill.name}"
            assert plan.digest is not None
            if not (self.home.path / FOLDER).is_dir():
                yield key, MakeFolder(FOLDER)
            if plan.installed is not None:
                yield key, MoveFolder(place, f"{own}/{kept_name(place)}", plan.installed)
            yield key, MoveFolder(f"{own}/{STAGED}/{item.name}", place, plan.digest)

    def discard(self, item: StagedSkill) -> None:
        """Remove what was staged for a skill that failed."""
        shutil.rmtree(self._staged(item.name), ignore_errors=True)

    def _staged(self, name: str) -> Path:
        return self.log.staged / name

    def _stage(self, plan: SkillPlan) -> StagedSkill:
        """Copy a skill to where it waits. Raises PackageError if it is not what was compared."""
        name = f"skill-{next(self._numbers)}"
        folder = self._staged(name)
        folder.mkdir()
        try:
            for path, file in plan.skill.files.items():
                target = safe_join(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open() as source, target.open("xb") as stream:
                    shutil.copyfileobj(source, stream, _CHUNK)
                # The file that begins so is a program; other bits of the package say nothing here.
                target.chmod(0o755 if path in plan.scripts else 0o644)
            _require_same(folder, plan)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return StagedSkill(plan, name)


def _require_same(folder: Path, plan: SkillPlan) -> None:
    if digest_of(folder) != plan.digest:
        raise PackageError(
            "package_changed",
            f"skill {plan.skill.name!r} changed while it was read",
            hint="let the program that writes it finish, then run `codex-session-sync AGAIN`",
        )


def kept_name(place: str) -> str:
    """The name under which a transaction keeps a folder that it takes away."""
    return f"skill-{place.rsplit('/', 1)[-1]}"


def in_order(plans: Sequence[SkillPlan], done: Iterable[SkillOutcome]) -> list[SkillOutcome]:
    """An outcome for every skill of the package."""
    found = {outcome.plan.skill.name: outcome for outcome in done}
    return [found.get(plan.skill.name) or _not_written(plan) for plan in plans]


def _not_written(plan: SkillPlan) -> SkillOutcome:
    if plan.writes:
        message = "the run was interrupted before it"
        hint = "run `codex-session-sync AGAIN`"
        return SkillOutcome(plan, "failed", "interrupted", message, hint)
    if plan.action == "refuse":
        return SkillOutcome(plan, "refused", plan.reason, plan.message, plan.hint)
    return SkillOutcome(plan, "skipped")


def _failed(plan: SkillPlan, error: SyncError | OSError) -> SkillOutcome:
    known = told(error)
    return SkillOutcome(plan, "failed", known.code, known.message, known.hint)
