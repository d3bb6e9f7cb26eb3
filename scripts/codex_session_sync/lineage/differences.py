"""What differs: metadata of a session on two sides, and a row before and after a change.

The only module that knows deepdiff.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model import Json, Row

METADATA = ("name", "archived", "git_branch")
"""What is merged beside the conversation; the local value wins where both sides changed it."""


@dataclass(frozen=True, slots=True)
class Merge:
    """The outcome for one session: values that follow the source, and what stays different."""

    follow: Json = field(default_factory=dict)
    differs: Json = field(default_factory=dict)


def merge_metadata(base: Json | None, local: Json, incoming: Json) -> Merge:
    """Merge three ways: what the source changed since ``base`` and nobody changed here follows.

    Each side maps METADATA to values. Without a base (no sidecar) only a value that is missing
    here follows.
    """
    follow = {
        key: incoming[key]
        for key in METADATA
        if incoming[key] != local[key] and _follows(key, base, local, incoming)
    }
    return Merge(follow, _difference({**local, **follow}, incoming))


def _follows(key: str, base: Json | None, local: Json, incoming: Json) -> bool:
    if incoming[key] is None:
        return False
    if base is None or key not in base:
        return local[key] is None
    return bool(local[key] == base[key])


def row_changes(before: Row, after: Row) -> Json:
    """What a change of a row changed: by column, the values before and after."""
    return _told(dict(before), dict(after), ("before", "after"))


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
