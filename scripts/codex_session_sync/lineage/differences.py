"""What differs: metadata of a session on two sides, a row or a mapping before and after a change.

The only module that knows deepdiff.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model import Json, PackagedSession, Row

METADATA = ("name", "archived", "git_branch")
"""What is merged beside the conversation; the local value wins where both sides changed it."""

MOMENT = "updated_at_ms"
"""What orders two states of one session's metadata: Codex raises it with every change of a row."""


def packaged_metadata(session: PackagedSession) -> Json:
    """METADATA, as far as a package tells it, and MOMENT where it has the session's row."""
    row = session.row
    known: Json = {"archived": session.archived}
    if session.name is not None or row is not None:
        known["name"] = session.name
    if row is not None:
        branch = row.get("git_branch")
        known["git_branch"] = branch if isinstance(branch, str) else None
        if isinstance(row.get(MOMENT), int):
            known[MOMENT] = row[MOMENT]
    return known


def is_newer(incoming: Json, base: Json | None) -> bool:
    """Whether a package surely tells of a later state than the last one known of its source."""
    if base is None or MOMENT not in base or MOMENT not in incoming:
        return False
    changed = any(key in incoming and incoming[key] != base.get(key) for key in METADATA)
    return changed and bool(incoming[MOMENT] > base[MOMENT])


def is_older(incoming: Json, base: Json | None) -> bool:
    """Whether a package surely tells of an earlier state than the last one known of its source."""
    return base is not None and MOMENT in incoming and bool(incoming[MOMENT] < base.get(MOMENT, 0))


@dataclass(frozen=True, slots=True)
class Merge:
    """The outcome for one session: values that follow the source, and what stays different."""

    follow: Json = field(default_factory=dict)
    differs: Json = field(default_factory=dict)


def merge_metadata(base: Json | None, local: Json, incoming: Json) -> Merge:
    """Merge three ways: what the source changed since ``base`` and nobody changed here follows.

    Each side maps METADATA to values, those that it knows. Without a base (no sidecar) only a value
    that is missing here follows.
    """
    known = [key for key in METADATA if key in incoming and key in local]
    follow = {
        key: incoming[key]
        for key in known
        if incoming[key] != local[key] and _follows(key, base, local, incoming)
    }
    after = {**local, **follow}
    return Merge(follow, _difference({k: after[k] for k in known}, {k: incoming[k] for k in known}))


def _follows(key: str, base: Json | None, local: Json, incoming: Json) -> bool:
    if incoming[key] is None:
        return False
    if base is None or key not in base:
        return local[key] is None
    return bool(local[key] == base[key])


def row_changes(before: Row, after: Row) -> Json:
    """What a change of a row changed: by column, the values before and after."""
    return _told(dict(before), dict(after), ("before", "after"))


def mapping_changes(before: Json, after: Json) -> Json:
    """What a change of a sidecar's mapping changed: by dotted place, the values before and after.

    A value that one side lacks is null there.
    """
    return _told(_flat(before), _flat(after), ("before", "after"))


def _flat(value: Json, above: str = "") -> Json:
    """The leaves of nested objects by dotted place."""
    found: Json = {}
    for key, item in value.items():
        found |= _flat(item, f"{above}{key}.") if isinstance(item, dict) else {above + key: item}
    return found


def _difference(local: Json, incoming: Json) -> Json:
    """What still differs: by key, the values here and at the source."""
    return _told(local, incoming, ("local", "incoming"))


def _told(one: Json, other: Json, sides: tuple[str, str]) -> Json:
    """The differences of two flat objects, as deepdiff tells them: by key, the value on each side.

    A key that one side lacks is null there.
    """
    if one == other:
        return {}
    from deepdiff import DeepDiff

    keys = {**dict.fromkeys(one), **dict.fromkeys(other)}
    found = DeepDiff({**keys, **one}, {**keys, **other}, view="tree")
    return {
        item.path(output_format="list")[0]: dict(zip(sides, (item.t1, item.t2), strict=True))
        for items in found.values()
        for item in items
    }
