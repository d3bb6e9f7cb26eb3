"""A family as one HTML page: its data, style and script are in it, and it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from importlib.resources import files

import orjson

from ..model import Json
from .values import Family

_HERE = "codex_session_sync.family"


def page(family: Family, made_at: datetime, title: str) -> str:
    """The page. It loads nothing, and may run no script but its own."""
    source = files(_HERE)
    template = source.joinpath("page.html").read_text("utf-8")
    style = source.joinpath("page.css").read_text("utf-8")
    script = source.joinpath("page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data: Json = {
        "title": title,
        "made_at": f"{made_at:%Y-%m-%dT%H:%M:%SZ}",
        "nodes": family.nodes(),
        "edges": family.edges_json(),
    }
    pieces = {
        "{{script-digest}}": digest,
        "{{title}}": _escaped(title),
        "{{style}}": style,
        "{{script}}": script,
        "{{data}}": _embedded(data),
    }
    parts = re.split("(" + "|".join(map(re.escape, pieces)) + ")", template)
    return "".join(pieces.get(part, part) for part in parts)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _embedded(data: Json) -> str:
    """JSON in which nothing ends the element that it stands in."""
    text = orjson.dumps(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
