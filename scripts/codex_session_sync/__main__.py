"""``python -m codex_session_sync``."""

from .cli.main import main

main()
