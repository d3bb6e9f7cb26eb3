"""Reports about the import service and its workers as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json
from .parts import base, counted

if TYPE_CHECKING:
    from .screen import Screen

SHOWN = 20
"""How many jobs, or things to be told, are shown."""


def held(data: Json, out: Screen) -> None:
    """Print what the service holds for a home."""
    line = f"{counted(data['answers'], 'answer')} kept, {counted(data['uploads'], 'upload')} open"
    out.print(f"{line} ({data['upload_bytes']} bytes)", highlight=False)
    for worker in data["workers"]:
        out.print(
            f"worker of {worker['source']}, {worker['mode']}: {worker['lag_seconds']} s behind, "
            f"started {counted(worker['starts'], 'time')}",
            markup=False,
            highlight=False,
        )
    for job in data["jobs"][:SHOWN]:
        done = job["statistics"]
        error = f" ({job['error']})" if job["error"] else ""
        out.print(
            f"job {job['jobId']} of {job['source']}: {job['status']}{error}, "
            f"{done['done']} of {done['items']} done",
            markup=False,
            highlight=False,
        )
    if len(data["jobs"]) > SHOWN:
        out.print(f"and {counted(len(data['jobs']) - SHOWN, 'older job')}", highlight=False)
    if not data["jobs"]:
        out.print("No jobs.", highlight=False)


def ingested(data: Json, out: Screen) -> None:
    """Print what a worker's run came to."""
    totals, worker = data["totals"], data["worker"]
    out.print(
        f"{data['source']} · {data['mode']} · {counted(data['requests'], 'request')}, "
        f"{data['repeated']} repeated",
        markup=False,
        highlight=False,
    )
    out.print(
        f"{totals['imported']} imported, {totals['upserted']} upserted, {totals['skipped']} "
        f"skipped, {totals['failed']} failed",
        highlight=False,
    )
    out.print(
        f"The run {_ENDED[data['ended']]}; the worker was started "
        f"{counted(worker['starts'], 'time')}.",
        highlight=False,
    )


def watched(data: Json, out: Screen) -> None:
    """Print what a folder holds for the service."""
    kind, items = data["kind"], data["items"]
    what = "session" if kind == "home" else "package"
    head = f"{base(data['folder'])} · {'a Codex home' if kind == 'home' else 'an inbox'}"
    out.print(f"{head} · {counted(len(items), what)}", markup=False, highlight=False)
    for name in items[:SHOWN]:
        out.print(f"  {name}", markup=False, highlight=False)
    if len(items) > SHOWN:
        out.print(f"  and {len(items) - SHOWN} more", highlight=False)


_ENDED = {
    "completed": "is complete",
    "stopped": "was stopped",
    "cancelled": "was cancelled",
    "failed": "failed",
}
