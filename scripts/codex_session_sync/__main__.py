"""``python -m codex_session_sync``."""

import sys

from .cli.main import main

sys.exit(main())
