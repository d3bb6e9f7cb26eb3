"""Name, archive state and branch of one session on two sides: what follows, what stays, why.

The only module that knows deepdiff.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model import Json

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


def _difference(local: Json, incoming: Json) -> Json:
    """What still differs, as deepdiff tells it: by key, the values here and at the source."""
    if local == incoming:
        return {}
    from deepdiff import DeepDiff

    found = DeepDiff(local, incoming, view="tree")
    return {
        item.path(output_format="list")[0]: {"local": item.t1, "incoming": item.t2}
        for items in found.values()
        for item in items
    }
