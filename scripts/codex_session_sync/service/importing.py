"""One request brought in: planned and executed as a sync is, under the home's lock.

What the items of a request become is told item by item. Messages of what befell them are left
out, since they may hold words of a conversation; their codes tell enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ..codex.capability import readable
from ..codex.home import CodexHome
from ..errors import PackageError, RequestError, SessionError, UsageError
from ..governing import in_force, surroundings
from ..journal.log import Journal
from ..local import Beginnings
from ..locks import home_lock
from ..model import Json
from ..package.members import DEFAULT_LIMITS, Limits
from ..package.reader import open_package
from ..package.sessions import Package
from ..places.rules import NO_RULES, Rules
from ..plan import make_plan
from ..planned import Action, Result, SessionOutcome, SessionPlan
from ..policy import local_policy
from ..recovery import find_interrupted, recover, require_none_interrupted
from ..sync import Execution, execute, is_idle, not_executed
from ..terms import Terms
from ..trust import judged
from ..unpacking import with_transcripts
from ..verdict import DEFAULT_CHOICES, Choices
from .frames import RETRYABLE
from .items import Item, PackageItem, SessionItem, grouped, read_item, stage
from .keys import Asked, Keys

RESULTS = ("imported", "upserted", "skipped", "failed")

_RESULT = {
    Result.IMPORTED: "imported",
    Result.FAST_FORWARDED: "upserted",
    Result.BRANCHED: "upserted",
    Result.SKIPPED: "skipped",
    Result.REFUSED: "failed",
    Result.FAILED: "failed",
}
Told = Callable[[str, int], None]
"""Told of bytes as they are read (``reading``) and written (``writing``)."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How requests are brought in, as the operator has it.

    ``command`` holds the home meanwhile. Without ``writes`` everything is only planned.
    ``below``: where packages that requests name may lie. ``patience``: seconds for which the
    home's lock is waited for.
    """

    command: str
    home: CodexHome
    environ: Mapping[str, str]
    writes: bool = False
    codex: Path | None = None
    choices: Choices = DEFAULT_CHOICES
    given: Rules = NO_RULES
    below: tuple[Path, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    patience: float = 60.0


def totals_of(items: Sequence[Json]) -> Json:
    """How many sessions came to which result; an item that is no session counts as one."""
    found = dict.fromkeys(RESULTS, 0)
    for item in items:
        for one in item["sessions"] or [item]:
            found[one["result"]] += 1
    return found


def added(one: Json, other: Json) -> Json:
    """Two totals together."""
    return {key: one[key] + other[key] for key in RESULTS}


@dataclass(frozen=True, slots=True)
class Importer:
    """Brings requests into one home, each once; ``scratch`` is an empty folder for records.

    What earlier requests found of the home is kept for the next ones, as far as it lasts.
    """

    manner: Manner
    scratch: Path
    keys: Keys
    _known: Beginnings = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)

    def run(
        self,
        asked: Asked,
        items: Sequence[Json],
        source_home: str | None,
        told: Told,
        first: int = 0,
    ) -> Json:
        """What the items of a request came to: the payload of an ``import.result``.

        ``first``: the index of the first one. Raises HomeError, InterruptedTransactionError:
        nothing more was written then, and the request can be made again; RequestError
        ``idempotency_key_…_mismatch``; OSError.
        """
        known = self.keys.answered(asked)
        if known is not None:
            return known
        read, failed = self._read(items, first)
        return self.bring(asked, read, failed, source_home, told)

    def bring(
        self,
        asked: Asked,
        items: Sequence[Item],
        failed: Mapping[int, Json],
        source_home: str | None,
        told: Told,
        upload: Callable[[], Json] | None = None,
    ) -> Json:
        """As ``run``, of items that were read, and what has become of the others; ``upload``: what
        is kept of their chunks.

        Under the lock, so that of two services that are asked the same one does it.
        """
        with self._held() if items else nullcontext():
            known = self.keys.answered(asked)
            if known is not None:
                return known
            self.scratch.mkdir(exist_ok=True)
            found, transactions = dict(failed), []
            for group in grouped(items):
                results, transaction = self._group(asked, group, source_home, told)
                found.update(results)
                transactions += [transaction] if transaction else []
            result = self._result(asked, [found[index] for index in sorted(found)], transactions)
            self.keys.keep(asked, result, upload and upload())
            return result

    def _result(self, asked: Asked, items: Sequence[Json], transactions: Sequence[str]) -> Json:
        return {
            "idempotencyKey": asked.key,
            "source": asked.source,
            "mode": asked.mode,
            "planned": not self.manner.writes,
            "repeated": False,
            "transactionIds": list(transactions),
            "items": list(items),
            "totals": totals_of(items),
        }

    def settle(self) -> None:
        """End what a signal cut off. Raises HomeError, InterruptedTransactionError."""
        with self._held():
            pass

    def _read(self, items: Sequence[Json], first: int) -> tuple[list[Item], dict[int, Json]]:
        found: list[Item] = []
        failed = {}
        for index, item in enumerate(items, first):
            try:
                found.append(read_item(index, item, self.manner.below))
            except RequestError as error:
                failed[index] = item_failed(index, error.code)
        return found, failed

    def _group(
        self, asked: Asked, group: Sequence[Item], source_home: str | None, told: Told
    ) -> tuple[dict[int, Json], str | None]:
        """What the items of one transaction came to, and the transaction if there is one."""
        only: tuple[str, ...] = ()
        if isinstance(group[0], PackageItem):
            path, only = group[0].path, group[0].sessions or ()
        else:
            sessions = [item for item in group if isinstance(item, SessionItem)]
            path = stage(sessions, self.scratch, asked.source, source_home)
        try:
            with open_package(path, self.manner.limits) as package:
                done = self._synced(package, only, asked, told)
        except (PackageError, RequestError, SessionError, UsageError) as error:
            return {item.index: item_failed(item.index, error.code) for item in group}, None
        outcomes = [_session(one) for one in done.outcomes]
        if isinstance(group[0], PackageItem):
            return {group[0].index: _item(group[0].index, outcomes)}, done.transaction_id
        index_of = {one.session_id: one.index for one in group if isinstance(one, SessionItem)}
        found = {}
        for outcome in outcomes:
            index = index_of.pop(outcome["sessionId"])
            found[index] = _item(index, [outcome])
        # A session of which the folder has nothing that can be read as a rollout's name.
        for index in index_of.values():
            found[index] = item_failed(index, "transcript_missing")
        return found, done.transaction_id

    def _synced(self, package: Package, only: Sequence[str], asked: Asked, told: Told) -> Execution:
        """Plan and, if that is wanted, execute; the caller holds the home's lock."""
        manner, home = self.manner, self.manner.home
        rules = in_force(manner.given, package, home)
        plan = make_plan(
            package,
            home,
            only=_known(package, only),
            choices=manner.choices,
            surroundings=surroundings(rules, home),
            progress=lambda count: told("reading", count),
            known=self._known,
        )
        if not manner.writes:
            planned = tuple(_foreseen(one) for one in plan.sessions)
            return Execution(None, planned, ())
        plan = with_transcripts(plan, package, lambda count: told("reading", count))
        if is_idle(plan):
            return not_executed(plan)
        policy = local_policy(home, trusted=False)
        plan = judged(plan, home, policy)
        reads = readable(home, manner.codex, manner.environ)
        return execute(
            plan,
            home,
            Terms(policy, rules, reads),
            codex=manner.codex,
            environ=manner.environ,
            progress=lambda count: told("writing", count),
            request={"idempotency_key": asked.key, "source": asked.source, "mode": asked.mode},
        )

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the home for one request, once nobody else does. Raises HomeError."""
        manner = self.manner
        if not manner.writes:
            yield
            return
        with home_lock(manner.home.sync_dir, manner.command, manner.patience):
            self._recover()
            yield

    def _recover(self) -> None:
        """End what a service that was killed left; what a person's sync left is the person's.

        Raises InterruptedTransactionError, also where nothing is to be written: what was not
        confirmed may still go.
        """
        home = self.manner.home
        journal = Journal(home.sync_dir)
        for found in find_interrupted(journal, self._ended):
            if "request" not in found.manifest:
                require_none_interrupted(journal)
            recover(home, journal, found)


def item_failed(index: int, code: str) -> Json:
    """An item of which nothing came in."""
    return {
        "index": index,
        "result": "failed",
        "reason": code,
        "retryable": code in RETRYABLE,
        "sessions": [],
    }


def _known(package: Package, only: Sequence[str]) -> tuple[str, ...]:
    """The sessions that are asked for. Raises RequestError where the package lacks one."""
    here = {session.session_id for session in package.sessions}
    if not here.issuperset(only):
        raise RequestError(
            "item_session_missing",
            "the package does not hold a session that the item names",
            hint="name sessions by the ids that `codex-session-sync inspect-package PKG` tells",
        )
    return tuple(only)


def _item(index: int, sessions: Sequence[Json]) -> Json:
    """An item by its sessions: failed if one failed, else what says most of what was done."""
    results = {one["result"] for one in sessions}
    result = next((r for r in ("failed", "imported", "upserted") if r in results), "skipped")
    reasons = [one["reason"] for one in sessions if one["result"] == result]
    return {
        "index": index,
        "result": result,
        "reason": reasons[0] if reasons else None,
        "retryable": any(one.get("retryable") for one in sessions),
        "sessions": list(sessions),
    }


def _foreseen(plan: SessionPlan) -> SessionOutcome:
    """What a plan would come to, as far as it knows."""
    match plan.action:
        case Action.SKIP:
            return SessionOutcome(plan, Result.SKIPPED, plan.decision.local_session_id)
        case Action.REFUSE:
            return SessionOutcome(plan, Result.REFUSED, None, plan.reason)
    target = plan.target.session_id if plan.target else None
    results = {Action.IMPORT: Result.IMPORTED, Action.BRANCH: Result.BRANCHED}
    return SessionOutcome(plan, results.get(plan.action, Result.FAST_FORWARDED), target)


def _session(outcome: SessionOutcome) -> Json:
    reason = outcome.code or outcome.plan.reason
    found: Json = {
        "sessionId": outcome.plan.session.session_id,
        "localSessionId": outcome.local_session_id,
        "result": _RESULT[outcome.result],
        "action": str(outcome.plan.action),
        "reason": reason,
    }
    if reason in RETRYABLE:
        found["retryable"] = True
    return found
