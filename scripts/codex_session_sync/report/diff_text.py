"""What ``sync --diff`` shows: how a session would go on, beside how it goes on here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json

if TYPE_CHECKING:
    from rich.text import Text

    from .screen import Screen

_STYLES = {"user": "bold", "tool": "cyan", "output": "dim", "compacted": "yellow"}
_SIGNS = {"user": ">", "assistant": "•", "tool": "$", "output": " ", "compacted": "≡"}


def paint(excerpt: Json, out: Screen) -> None:
    """Print the end of the common part, then what comes in; of a divergence both sides."""
    from rich.table import Table

    out.print(f"\n[bold]{out.short(excerpt['session_id'])}[/]", highlight=False)
    for line in excerpt["common"]:
        text = _line(line)
        text.stylize("dim")
        out.print(text)
    incoming, local = excerpt["incoming"], excerpt["local"]
    if not local["lines"]:
        for line in incoming["lines"]:
            out.print(_line(line, "+ ", "green"))
        _left_out(incoming, out)
        return
    table = Table(box=None, pad_edge=False, expand=True, padding=(0, 2, 0, 0))
    table.add_column("comes in", ratio=1, header_style="bold green")
    table.add_column("is here", ratio=1, header_style="bold")
    for number in range(max(len(incoming["lines"]), len(local["lines"]))):
        table.add_row(*(_cell(side["lines"], number) for side in (incoming, local)))
    out.print(table)
    for side in (incoming, local):
        _left_out(side, out)


def _cell(lines: list[Json], number: int) -> Text:
    from rich.text import Text

    return _line(lines[number]) if number < len(lines) else Text("")


def _line(line: Json, lead: str = "", style: str = "") -> Text:
    from rich.text import Text

    text = Text(lead, style=style)
    plain = "".join(c if c.isprintable() else "�" for c in line["text"])
    text.append(f"{_SIGNS.get(line['who'], ' ')} {plain}", _STYLES.get(line["who"], ""))
    return text


def _left_out(side: Json, out: Screen) -> None:
    if side["left_out"]:
        out.print(f"  … and {side['left_out']} more", style="dim", highlight=False)
