"""A test bed with the real Codex: homes, sessions of every kind, and what Codex shows of them."""

from codexbed.app_server import AppServer, AppServerError
from codexbed.codex import CodexFailed, CodexHome, records, rollout_files
from codexbed.install import CURRENT, LEGACY, CodexUnavailable, codex_binary, require_codex
from codexbed.kinds import compress, make_all, make_legacy
from codexbed.making import CURRENT_KINDS, LEGACY_KINDS, MadeSession
from codexbed.model_server import ModelServer, function_call, message
from codexbed.snapshot import changes, copy_home, rebase_paths, rows, tree_digest
from codexbed.view import SessionView, doctor, view

__all__ = [
    "CURRENT",
    "CURRENT_KINDS",
    "LEGACY",
    "LEGACY_KINDS",
    "AppServer",
    "AppServerError",
    "CodexFailed",
    "CodexHome",
    "CodexUnavailable",
    "MadeSession",
    "ModelServer",
    "SessionView",
    "changes",
    "codex_binary",
    "compress",
    "copy_home",
    "doctor",
    "function_call",
    "make_all",
    "make_legacy",
    "message",
    "rebase_paths",
    "records",
    "require_codex",
    "rollout_files",
    "rows",
    "tree_digest",
    "view",
]
