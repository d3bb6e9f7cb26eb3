"""What armed packages need: a plugin that leaves a mark, and a Codex that takes plugins up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codexbed import AppServer, CodexHome, codex_binary

Json = dict[str, Any]
FULL_ACCESS = ":danger-full-access"
PLUGIN = "plugin"
MARK = "started"


def make_plugin(folder: Path) -> list[Json]:
    """Write a plugin whose server leaves a mark in the folder when it is started.

    Returns the capability roots that name it.
    """
    plugin = folder / PLUGIN
    command = {"command": "/bin/sh", "args": ["-c", f"touch '{folder / MARK}'; cat"]}
    (plugin / ".codex-plugin").mkdir(parents=True)
    manifest = {"name": "armed", "version": "1.0.0", "description": "leaves a mark"}
    (plugin / ".codex-plugin" / "plugin.json").write_text(json.dumps(manifest))
    (plugin / ".mcp.json").write_text(json.dumps({"mcpServers": {"armed": command}}))
    return roots(folder)


def roots(folder: Path) -> list[Json]:
    """The capability roots that name the folder's plugin."""
    location = {"type": "environment", "environmentId": "local"}
    return [{"id": "armed", "location": {**location, "path": (folder / PLUGIN).as_uri()}}]


def app_server(home: CodexHome) -> AppServer:
    """An app-server of a home that has plugins."""
    # With plugins Codex asks its maker's servers; a proxy that is not there keeps it here.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    local = {"NO_PROXY": "127.0.0.1"}
    command = [str(codex_binary(home.version)), "app-server"]
    return AppServer(command, {**home.env(), **nowhere, **local}, home.project)
