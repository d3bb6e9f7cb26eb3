"""Records of one history mode rewritten in the other.

Both directions follow what Codex 0.169 does: ``codex migrate-rollouts`` for legacy to paginated,
and the same turns recorded in both modes for the way back. Only ``event_msg`` records that show
items, and the head, differ between the modes; what the model sees is the same.

To paginated, ``Standing`` says which records stay at all. What Codex 0.169 cannot read in a legacy
session is left out as the migration leaves it out: events of agents and of viewed images as 0.118
wrote them, requests of dynamic tools (the response has it all), shown events without what they
show. The migration also writes settings, token counts and compactions anew with the fields of its
own release, and rewrites a compaction that a rollback reaches back over; here they stay as they
were.

To legacy, an item becomes the event that Codex 0.169 shows for it in a legacy session. It shows
none for commands, dynamic tools, agents and viewed images, in its own legacy sessions neither:
those records stay as they are, to be passed over there and to be back after a migration. Of a
user's message mentions, skills and the order of texts and images are lost, as in Codex's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ..model import HistoryMode, Json
from .items import EVENT_OF, ITEM_OF, strings
from .rollout import COMPACTED, EVENT, META, RESPONSE_ITEM, ROLLED_BACK, parse_time

PAGINATED_ONLY = ("history_mode", "history_base", "forked_from_ordinal_exclusive")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNSHOWN = frozenset(
    {
        "collab_agent_spawn_end",
        "collab_agent_interaction_end",
        "collab_close_end",
        "collab_resume_end",
        "collab_waiting_end",
        "dynamic_tool_call_request",
        ROLLED_BACK,
    }
)
"""Legacy events that a migration leaves out."""

_NAMES_TURN = frozenset(
    {
        "exec_command_end",
        "patch_apply_end",
        "mcp_tool_call_end",
        "dynamic_tool_call_response",
        "entered_review_mode",
        "exited_review_mode",
    }
)
"""Legacy events that can belong to another turn than the open one."""


class ModeConverter:
    """Rewrites the records of one session that stand, in order, in another history mode.

    Items and turns that legacy records do not name are numbered as a migration numbers them. So a
    converter for the end of a session has to be given its beginning as well.
    """

    def __init__(self, target: HistoryMode, session_id: str) -> None:
        legacy = target == "legacy"
        self._mode: _Mode = _ToLegacy() if legacy else _ToPaginated(session_id)

    def convert(self, record: Json) -> list[Json]:
        """The records that take the place of ``record``; none for what the target does not show.

        Ordinals are the caller's to set.
        """
        return self._mode.convert(record)

    def finish(self) -> list[Json]:
        """What is to be written after the last record."""
        return self._mode.finish()


class _Mode(Protocol):
    """What ModeConverter needs of either direction."""

    def convert(self, record: Json) -> list[Json]: ...
    def finish(self) -> list[Json]: ...


@dataclass(slots=True)
class _ToLegacy:
    _reasoning: object = None
    """The id of the reasoning item shown last, and how much of it is written."""
    _told: tuple[int, int] = (0, 0)

    def convert(self, record: Json) -> list[Json]:
        record = {key: value for key, value in record.items() if key != "ordinal"}
        payload = record["payload"]
        if record["type"] == META:
            meta = {key: value for key, value in payload.items() if key not in PAGINATED_ONLY}
            return [{**record, "payload": meta}]
        if record["type"] != EVENT:
            return [record]
        if payload.get("type") == ROLLED_BACK:
            # Without effect in a paginated session; in a legacy one it would take turns back.
            return []
        if payload.get("type") != "item_completed":
            return [record]
        return [{**record, "payload": event} for event in self._events(payload)]

    def finish(self) -> list[Json]:
        return []

    def _events(self, shown: Json) -> list[Json]:
        item = shown.get("item")
        if not isinstance(item, dict):
            return [shown]
        if item.get("type") == "Reasoning":
            return self._thoughts(item)
        event_of = EVENT_OF.get(str(item.get("type")))
        event = event_of(item, shown.get("turn_id")) if event_of else None
        return [shown if event is None else event]

    def _thoughts(self, item: Json) -> list[Json]:
        """The events for what a reasoning item has more than when it was shown before."""
        if item.get("id") != self._reasoning:
            self._reasoning, self._told = item.get("id"), (0, 0)
        summary, raw = strings(item.get("summary_text")), strings(item.get("raw_content"))
        new = [{"type": "agent_reasoning", "text": text} for text in summary[self._told[0] :]]
        new += [
            {"type": "agent_reasoning_raw_content", "text": text} for text in raw[self._told[1] :]
        ]
        self._told = (len(summary), len(raw))
        return new


@dataclass(slots=True)
class _ToPaginated:
    _session_id: str
    _turn: str | None = None
    _implied: bool = False
    """Whether the open turn is one that no record has begun."""
    _asked: bool = False
    """Whether the open turn has words of the user."""
    _turns: set[str] = field(default_factory=set)
    _thought: Json | None = None
    """The reasoning item that is the last of its turn so far."""
    _items: int = 0
    _place: int = -1
    _last: Json = field(default_factory=dict)

    def convert(self, record: Json) -> list[Json]:
        self._place += 1
        self._last = record
        payload = record["payload"]
        if record["type"] == META:
            # A legacy fork holds a copy of its parent's head.
            head = {"session_id": self._session_id, **payload, "history_mode": "paginated"}
            return [{**record, "payload": head}] if self._place == 0 else []
        if record["type"] != EVENT:
            return [record]
        return [{**record, "payload": event} for event in self._events(payload)]

    def finish(self) -> list[Json]:
        return [{**self._last, "type": EVENT, "payload": end} for end in self._end_implied()]

    def _events(self, event: Json) -> list[Json]:
        kind = str(event.get("type"))
        if kind in ("task_started", "task_complete", "turn_aborted"):
            return self._bound(kind, event)
        if kind == "item_completed":
            self._thought = None
            return [{"completed_at_ms": 0, **event}]
        if kind in ("agent_reasoning", "agent_reasoning_raw_content"):
            return self._think(kind, event.get("text"))
        item_of = ITEM_OF.get(kind)
        if item_of is None:
            return [] if kind in _UNSHOWN else [event]
        item = item_of(event)
        if item is None:
            return self._unread()
        if event.get("message") == "" and kind == "agent_message":
            return []
        asks = kind == "user_message"
        ended = self._end_implied() if asks and self._asked else []
        shown = self._show(item, event.get("turn_id") if kind in _NAMES_TURN else None)
        self._asked, self._thought = self._asked or asks, None
        return [*ended, *shown]

    def _bound(self, kind: str, event: Json) -> list[Json]:
        """The beginning or end of a turn; without its id only an abortion can be read."""
        turn = event.get("turn_id")
        if kind == "turn_aborted" and turn is None:
            event, turn = {**event, "turn_id": self._turn}, self._turn
        if not isinstance(turn, str):
            return self._unread()
        if kind == "task_started":
            ended = self._end_implied()
            self._open(turn)
            return [*ended, event]
        if turn == self._turn:
            self._turn, self._implied = None, False
        return [event]

    def _unread(self) -> list[Json]:
        """Leave out a record that Codex cannot read, and so does not count."""
        self._place -= 1
        return []

    def _open(self, turn: str) -> None:
        self._turn, self._asked, self._thought = turn, False, None
        self._turns.add(turn)

    def _think(self, kind: str, text: object) -> list[Json]:
        """Reasoning in several events is one item that grows, shown each time as it is so far."""
        if not isinstance(text, str):
            return self._unread()
        if not text:
            return []
        before = self._thought or {"type": "Reasoning", "summary_text": [], "raw_content": []}
        part = "summary_text" if kind == "agent_reasoning" else "raw_content"
        found = self._show({**before, part: [*before[part], text]}, None)
        self._thought = found[-1]["item"]
        return found

    def _show(self, item: Json, named: object) -> list[Json]:
        """An item, in the turn that its event names or in the open one."""
        named = named if isinstance(named, str) and named else None
        begun = []
        if self._turn is None and named not in self._turns:
            begun = [self._imply(named or f"rollout-{self._place}")]
        if "id" not in item:
            self._items += 1
            item = {**item, "id": f"item-{self._items}"}
        shown = {
            "type": "item_completed",
            "thread_id": self._session_id,
            "turn_id": named or self._turn,
            "item": item,
            "completed_at_ms": self._now(timedelta(milliseconds=1)),
        }
        return [*begun, shown]

    def _imply(self, turn: str) -> Json:
        """The beginning of a turn for what is shown outside of any."""
        self._open(turn)
        self._implied = True
        return {
            "type": "task_started",
            "turn_id": turn,
            "started_at": self._now(timedelta(seconds=1)),
            "model_context_window": None,
            "collaboration_mode_kind": "default",
        }

    def _end_implied(self) -> list[Json]:
        if not self._implied:
            return []
        turn, self._turn, self._implied, self._thought = self._turn, None, False, None
        now = self._now(timedelta(seconds=1))
        end = {"type": "task_complete", "turn_id": turn, "last_agent_message": None}
        return [{**end, "completed_at": now}]

    def _now(self, unit: timedelta) -> int:
        moment = parse_time(self._last.get("timestamp"))
        return (moment - _EPOCH) // unit if moment else 0


def numbered_window(compaction: Json) -> Json:
    """The payload of a ``compacted`` record as releases up to 0.140 read it too.

    Later ones give the window an id that is a text, and its number beside it; to the older ones the
    id is a number, and they pass over a record with another one.
    """
    if not isinstance(compaction.get("window_id"), str):
        return compaction
    kept = {key: value for key, value in compaction.items() if key != "window_id"}
    number = compaction.get("window_number")
    return {**kept, "window_id": number} if isinstance(number, int) else kept


# -- turns taken back ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Turn:
    """Places of records: where a turn begins, and where it goes if it is taken back as the first.

    ``entered``: whether it has entries.
    """

    start: int
    user_from: int | None = None
    entered: bool = False


@dataclass(slots=True)
class Standing:
    """Which records of a legacy session stand; those of turns that were taken back do not.

    The turns are those of ``references/fingerprint.md``: the entries that stand are those that are
    chained.
    """

    flags: bytearray = field(default_factory=bytearray)
    """For each record 1 if it stands, else 0."""
    reaches: list[tuple[int, int]] = field(default_factory=list)
    """For each record that took back turns its place, and that of the first record it took."""
    _turns: list[_Turn] = field(default_factory=lambda: [_Turn(0)])
    _users: list[int] = field(default_factory=list)
    """Which turns have words of the user."""
    _user: int | None = None

    def note(self, record: Json) -> None:
        """Take in the next record."""
        place, payload = len(self.flags), record["payload"]
        self.flags.append(1)
        if record["type"] in (RESPONSE_ITEM, COMPACTED):
            turn = self._turns[-1]
            if payload.get("role") == "user":
                self._user = place if turn.entered else turn.start
            turn.entered = True
        elif record["type"] == EVENT:
            self._note_event(place, payload)

    def _note_event(self, place: int, event: Json) -> None:
        kind, turn = event.get("type"), self._turns[-1]
        if kind == "task_started":
            self._turns.append(_Turn(place))
            self._user = None
        elif kind == "user_message":
            if turn.user_from is None:
                turn.user_from = turn.start if self._user is None else self._user
                self._users.append(len(self._turns) - 1)
        elif kind == ROLLED_BACK:
            count = event.get("num_turns")
            self._take_back(place, count if type(count) is int else 0)
            self._user = None

    def _take_back(self, place: int, count: int) -> None:
        self.flags[place] = 0
        users = self._users
        taken = users[max(0, len(users) - count) :]
        first = place
        for number in taken:
            turn = self._turns[number]
            # Of the very first only what follows its preamble goes.
            start = turn.user_from if number == users[0] else turn.start
            end = self._turns[number + 1].start if number + 1 < len(self._turns) else place
            assert start is not None
            self.flags[start:end] = bytes(end - start)
            first = min(first, start)
            turn.user_from, turn.entered = None, start > turn.start
        del users[len(users) - len(taken) :]
        self.reaches.append((place, first))
