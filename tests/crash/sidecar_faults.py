"""Points in a transaction on sidecars alone, and in its undoing, at which something can go wrong.

As a program it runs the command line with a fault, as ``faults`` does.
"""

from __future__ import annotations

from codex_session_sync.journal import texts
from codex_session_sync.journal.operations import PutDocument
from crash import faults
from crash.faults import Point

POINTS = faults.POINTS | {
    "put": Point(PutDocument, "apply"),
    "undo put": Point(PutDocument, "undo"),
    "folder of documents": Point(texts, "sync_folder"),
}

if __name__ == "__main__":
    faults.POINTS |= POINTS
    faults.serve()
