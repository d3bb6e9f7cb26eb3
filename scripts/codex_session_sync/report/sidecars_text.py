"""Changes of sidecars, as a person reads them at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .screen import Screen
from .table import Column, table

COMMANDS = ("rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings")

REASONS = {
    "journal": "the journal has it so",
    "transcript": "its transcript tells so",
    "session_gone": "its session is gone",
    "other_line": "its session begins otherwise now",
}
STYLES = {"added": "green", "removed": "red", "changed": "cyan"}


def changes(data: Json, out: Screen) -> None:
    """What becomes, or became, of each mapping, and of sidecars that are damaged or ill written."""
    if not data["changes"]:
        out.print("The sidecars say it so already.")
        return
    _mappings(data["changes"], out)
    for change in data["changes"]:
        if change["damage"] is not None:
            out.paragraph(Text(f"damaged: {change['damage']}"))
        elif not change["mappings"]:
            out.print(f"written anew, saying the same: sidecar {change['lineage_id']}")
    _differences(data["changes"], out)
    if data.get("transaction_id"):
        out.print(f"\ntransaction {data['transaction_id']}", highlight=False)


def _mappings(found: list[Json], out: Screen) -> None:
    lineage, who, here = Column("lineage", drop=3), Column("session"), Column("local session")
    what, failed, why = Column("mapping"), Column("", drop=2), Column("because", drop=1)
    for change in found:
        for mapping in change["mappings"]:
            lineage.add(change["lineage_id"][:8])
            who.add(out.short(mapping["origin_session_id"]))
            here.add(out.short(mapping["local_session_id"]))
            what.add(mapping["change"], STYLES[mapping["change"]])
            failed.add("failed" if change.get("result") == "failed" else "", "red")
            why.add(REASONS[mapping["reason"]])
    if who.cells:
        table([lineage, who, here, what, failed, why], out)


def _differences(found: list[Json], out: Screen) -> None:
    """The values of changed mappings, before and after."""
    for change in found:
        for mapping in change["mappings"]:
            about = out.short(mapping["local_session_id"])
            for place, sides in mapping.get("differences", {}).items():
                told = f"{sides['before']!r} becomes {sides['after']!r}"
                out.paragraph(Text(f"{about} {place}: {told}"))
