"""Changes of sidecars, as a person reads them at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = ("rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings")

REASONS = {
    "journal": "the journal has it so",
    "transcript": "its transcript tells so",
    "session_gone": "its session is gone",
    "other_line": "its session begins otherwise now",
}
STYLES = {"added": "green", "removed": "red", "changed": "cyan"}


def changes(data: Json, out: Console) -> None:
    """What becomes, or became, of each mapping, and of sidecars that are damaged or ill written."""
    if not data["changes"]:
        out.print("The sidecars say it so already.")
        return
    _mappings(data["changes"], out)
    for change in data["changes"]:
        if change["damage"] is not None:
            out.print(f"damaged: {change['damage']}", markup=False, highlight=False)
        elif not change["mappings"]:
            out.print(f"written anew, saying the same: sidecar {change['lineage_id']}")
    _differences(data["changes"], out)
    if data.get("transaction_id"):
        out.print(f"\ntransaction {data['transaction_id']}", highlight=False)


def _mappings(found: list[Json], out: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("lineage", "session", "local session", "mapping"):
        table.add_column(title, no_wrap=True)
    table.add_column("because")
    for change in found:
        failed = " [red](failed)[/]" if change.get("result") == "failed" else ""
        for mapping in change["mappings"]:
            kind = mapping["change"]
            table.add_row(
                change["lineage_id"][:8],
                short_id(mapping["origin_session_id"]),
                short_id(mapping["local_session_id"]),
                f"[{STYLES[kind]}]{kind}[/]{failed}",
                REASONS[mapping["reason"]],
            )
    if table.row_count:
        out.print(table)


def _differences(found: list[Json], out: Console) -> None:
    """The values of changed mappings, before and after."""
    for change in found:
        for mapping in change["mappings"]:
            about = short_id(mapping["local_session_id"])
            for place, sides in mapping.get("differences", {}).items():
                out.print(
                    f"{about} {place}: {sides['before']!r} becomes {sides['after']!r}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
