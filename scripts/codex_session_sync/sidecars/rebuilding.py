"""What the sidecars of a home must be, from all that is left: journal, sidecars and transcripts.

Where they contradict, the transcripts tell what is here, the journal what was done, and a sidecar
only what the journal has lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..codex.home import CodexHome
from ..journal.log import Journal
from ..lineage.fingerprint import lineage_id
from ..lineage.sidecar import Mapping, Mappings, Pair, fingerprint, pair_of
from ..local import LocalSessions
from ..model import Chain, Json, Notice
from .documents import Rewriting, Sidecar, change_of, no_sidecar, read_sidecars
from .retelling import REASON, Retold, incomplete, named_by, retell
from .surviving import Progress, Survivor, Survivors

GONE = "session_gone"
OTHER_LINE = "other_line"
TRANSCRIPT = "transcript"
"""Why mappings change, beside REASON: the local session is gone, begins with another entry than
its lineage, or its transcript tells otherwise."""


def plan_rebuild(home: CodexHome, progress: Progress | None = None) -> Rewriting:
    """What makes the sidecars of a home fit what is left of journal, sidecars and transcripts.

    ``progress`` is told of transcript bytes that are done with. Raises HomeError.
    """
    told = retell(Journal(home.sync_dir))
    survivors = Survivors(home, progress)
    found = {sidecar.lineage_id: sidecar for sidecar in read_sidecars(home)}
    rebuilder = _Rebuilder(told, survivors)
    noted = _noted(survivors)
    changes = []
    for lineage in sorted(found.keys() | told.texts.keys() | noted.keys()):
        sidecar = found.get(lineage) or no_sidecar(lineage)
        wanted, reasons = rebuilder.mappings(sidecar, noted.get(lineage, []))
        if told.has(sidecar.text, lineage) and wanted == sidecar.mappings:
            continue
        change = change_of(sidecar, wanted, reasons)
        if change is not None:
            changes.append(change)
    return Rewriting(tuple(changes), (*told.notices, *survivors.notices, *rebuilder.notices()))


def plan_pruning(home: CodexHome) -> Rewriting:
    """What takes out the mappings whose local session is gone."""
    local = LocalSessions(home)
    changes, notices = [], []
    for sidecar in read_sidecars(home):
        if sidecar.damage is not None:
            notices.append(Notice("sidecar_invalid", f"{sidecar.damage}; it is left as it is"))
            continue
        kept = {pair: m for pair, m in sidecar.mappings.items() if local.tip(pair[1]) is not None}
        if kept.keys() == sidecar.mappings.keys():
            continue
        change = change_of(sidecar, kept, dict.fromkeys(sidecar.mappings, GONE))
        if change is not None:
            changes.append(change)
    return Rewriting(tuple(changes), tuple(notices))


@dataclass(slots=True)
class _Rebuilder:
    """Decides what each sidecar must say; gathers what cannot be told."""

    told: Retold
    survivors: Survivors
    _beyond: set[str] = field(default_factory=set)
    """Transactions that only sidecars know of."""
    _learned: int = 0
    _behind: int = 0

    def mappings(self, sidecar: Sidecar, noted: list[Survivor]) -> tuple[Mappings, dict[Pair, str]]:
        """The mappings of a lineage, and why each changes if it does.

        ``noted`` are its sessions whose transcripts tell what they stand for.
        """
        said = sidecar.mappings
        same = self.told.has(sidecar.text, sidecar.lineage_id)
        journaled = said if same else self.told.mappings(sidecar.lineage_id)
        found: Mappings = {}
        reasons: dict[Pair, str] = {}
        for pair in sorted(said.keys() | journaled.keys()):
            known = self._known(said.get(pair), journaled.get(pair))
            mapping, reasons[pair] = self._fitting(known, sidecar.lineage_id, said.get(pair))
            if mapping is not None:
                found[pair] = mapping
        self._beyond |= named_by(found.values()) - self.told.transactions
        mapped = {local for _, local in found}
        for survivor in noted:
            learned = self._learn(survivor) if survivor.session_id not in mapped else None
            if learned is not None:
                found[pair_of(learned)] = learned
                reasons[pair_of(learned)] = TRANSCRIPT
        return found, reasons

    def notices(self) -> Iterator[Notice]:
        """What cannot be told."""
        if not self.told.transactions and any(True for _ in self.survivors):
            yield _JOURNAL_MISSING
        else:
            yield from incomplete(self._beyond)
        if self._behind:
            yield Notice(
                "mapping_behind",
                f"{self._behind} sessions went on since the last sync that is known of; if that "
                "was by a sync which the journal has lost, what it noted of their names, archive "
                "states and branches is lost as well",
            )
        if self._learned:
            yield Notice(
                "mapping_incomplete",
                f"of {self._learned} sessions only a note in the transcript tells what they stand "
                "for: what their names, archive states and branches were at the last sync is "
                "unknown, and they follow their source where they are missing here only",
            )

    def _known(self, said: Json | None, journaled: Json | None) -> Json | None:
        """What was last done with a pair: by the journal, unless it has lost a later sync."""
        if said is None or said["transaction_id"] in self.told.transactions:
            return journaled
        if journaled is None or (said["synced_at"] or "") > (journaled["synced_at"] or ""):
            return said
        return journaled

    def _fitting(
        self, known: Json | None, lineage: str, said: Json | None
    ) -> tuple[Json | None, str]:
        """The newest version of a mapping that fits the transcript, and why it is that one."""
        if known is None:
            return None, REASON
        origin, local = pair_of(known)
        survivor = self.survivors.get(local)
        if survivor is None:
            return None, GONE
        if not survivor.readable or (
            survivor.is_of(lineage, origin) and _same_size(known, survivor)
        ):
            return known, REASON
        read = self.survivors.chain(survivor)
        if read is None:
            return known, REASON
        chain, size = read
        if not survivor.is_of(lineage, origin) and lineage_id(chain, origin) != lineage:
            return None, OTHER_LINE
        if _holds(known, chain):
            self._behind += len(chain) > known["local"]["entries"]
            return known, REASON
        former = self.told.earlier(lineage, (origin, local))
        for version in (said, *former):
            if version is not None and _holds(version, chain):
                return version, TRANSCRIPT
        return {**known, "local": fingerprint(chain, size)}, TRANSCRIPT

    def _learn(self, survivor: Survivor) -> Json | None:
        """The mapping that a transcript's own note tells; how far its source went is unknown."""
        assert survivor.origin is not None
        local = self.survivors.fingerprint(survivor)
        if local is None:
            return None
        self._learned += 1
        nothing = fingerprint(Chain(), 0)
        mapping = Mapping(survivor.origin, survivor.session_id, nothing, local, {}, None, None)
        return mapping.to_json()


def _noted(survivors: Survivors) -> dict[str, list[Survivor]]:
    """The sessions whose transcripts tell what they stand for, by lineage."""
    found: dict[str, list[Survivor]] = defaultdict(list)
    for one in survivors:
        if one.origin is not None:
            found[one.lineage_id or lineage_id(Chain(), one.origin)].append(one)
    return found


def _same_size(mapping: Json, survivor: Survivor) -> bool:
    """Whether a transcript is as long as it was: then it is taken to be the same, unread."""
    file = survivor.file
    return not file.compressed and bool(file.size == mapping["local"]["size"])


def _holds(mapping: Json, chain: Chain) -> bool:
    """Whether a session still begins with what it was when the mapping was written."""
    entries, head = int(mapping["local"]["entries"]), mapping["local"]["head"]
    return entries == 0 or (entries <= len(chain) and chain.link(entries) == head)


_JOURNAL_MISSING = Notice(
    "journal_missing",
    "this home has no journal: which sessions came from elsewhere is told by what sidecars are "
    "left and by notes in branches and renamed imports only; the others are found by their ids, "
    "and names, archive states and branches follow their source where they are missing here only, "
    "until the next sync that writes them",
)
