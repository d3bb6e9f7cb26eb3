"""The report of ``explain`` as a person reads it at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .screen import Screen

_STYLES = {"prevents": "red", "hides": "yellow", "note": "dim"}
_WORDS = {"prevents": "cannot be opened", "hides": "not in the list", "note": "note"}


def paint(data: Json, out: Screen) -> None:
    """Print what Codex makes of the session, and each cause with what helps."""
    session = data["session"]
    called = session["name"] or session["title"] or ""
    title = "".join(c if c.isprintable() else "\ufffd" for c in called)
    out.print(f"{out.short(session['session_id'])} {title}".strip(), markup=False, highlight=False)
    listed = "lists it" if data["listed"] else "does not list it"
    opens = "opens it" if data["opens"] else "does not open it"
    out.print(f"By what is on disk, Codex {listed} and {opens}.", highlight=False)
    for cause in data["findings"]:
        style, words = _STYLES[cause["effect"]], _WORDS[cause["effect"]]
        out.print(f"\n[{style}]{words}[/] \\[{cause['code']}]", highlight=False)
        out.paragraph(Text(f"  {cause['message']}"))
        remedy, command = cause["remedy"], cause["command"]
        text = f"{remedy}: `{command}`" if command else remedy
        out.paragraph(Text(f"  → {text}"), 4)
