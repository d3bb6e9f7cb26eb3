"""The tables of the index, and what makes words of a text that can be found."""

from __future__ import annotations

import re

VERSION = 3
"""Of the tables and of what is put into them; an index of another version is made anew."""

TABLES = """
CREATE TABLE state (
    store_id TEXT NOT NULL,
    catalog_start INTEGER NOT NULL,
    catalog_end INTEGER NOT NULL,
    catalog_line TEXT NOT NULL
);
CREATE TABLE imports (
    id INTEGER PRIMARY KEY,
    import_id TEXT NOT NULL UNIQUE,
    at TEXT NOT NULL,
    normaliser INTEGER NOT NULL,
    sessions INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    added INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    orphaned INTEGER NOT NULL
);
CREATE TABLE packages (
    import INTEGER NOT NULL REFERENCES imports (id),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    container TEXT NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT,
    home TEXT,
    PRIMARY KEY (import, number)
) WITHOUT ROWID;
CREATE TABLE ledgers (
    lineage_id TEXT PRIMARY KEY,
    place INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    lineage_id TEXT NOT NULL,
    parent TEXT,
    kind TEXT NOT NULL,
    entry INTEGER NOT NULL,
    time TEXT NOT NULL,
    time_ms INTEGER,
    images INTEGER NOT NULL,
    normaliser INTEGER NOT NULL,
    import_id TEXT NOT NULL,
    place INTEGER NOT NULL,
    stretch INTEGER NOT NULL
);
CREATE INDEX events_by_parent ON events (parent);
CREATE INDEX events_by_time ON events (time_ms);
CREATE INDEX events_by_stretch ON events (stretch, entry);
CREATE TABLE stretches (
    id INTEGER PRIMARY KEY,
    lineage_id TEXT NOT NULL,
    last TEXT NOT NULL,
    source INTEGER,
    source_entry INTEGER
);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    lineage_id TEXT,
    head TEXT,
    head_event TEXT,
    entries INTEGER NOT NULL,
    history_mode TEXT NOT NULL,
    home TEXT,
    name TEXT,
    title TEXT,
    cwd TEXT,
    repository TEXT,
    repository_key TEXT,
    branch TEXT,
    git_commit TEXT,
    first_at TEXT,
    last_at TEXT,
    forked_from TEXT,
    spawned_by TEXT
);
CREATE INDEX sessions_by_id ON sessions (session_id, head);
CREATE TABLE readings (
    import INTEGER NOT NULL REFERENCES imports (id),
    package INTEGER NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions (id),
    added INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (import, package, session)
) WITHOUT ROWID;
CREATE INDEX readings_by_session ON readings (session);
CREATE TABLE refusals (
    import INTEGER NOT NULL REFERENCES imports (id),
    package INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (import, package, session_id)
) WITHOUT ROWID;
CREATE TABLE reach (
    session INTEGER NOT NULL REFERENCES sessions (id),
    stretch INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (stretch, session)
) WITHOUT ROWID;
CREATE INDEX reach_by_session ON reach (session);
CREATE TABLE commits (
    checkpoint TEXT NOT NULL,
    sha TEXT NOT NULL,
    session_id TEXT NOT NULL,
    after_entry INTEGER NOT NULL,
    last_entry INTEGER NOT NULL,
    head TEXT,
    PRIMARY KEY (checkpoint, session_id)
) WITHOUT ROWID;
CREATE INDEX commits_by_session ON commits (session_id);
CREATE TABLE unread (
    checkpoint TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    message TEXT NOT NULL
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = "unicode61 remove_diacritics 2");
"""
"""A stretch is a part of a line without a fork: an event belongs to those sessions that reach its
stretch, and there an entry that is not before its own. A commit has the entries of a session that
came between the checkpoint before and its own, on the line that ends with ``head``."""

DUMPED = (
    *("imports", "packages", "ledgers", "events", "stretches"),
    *("sessions", "readings", "refusals", "reach", "commits"),
)
"""The tables that hold the same whenever an index is made anew."""

HIT, HIT_END = "\x02", "\x03"
"""What stands around what was found."""
_OWN = re.compile(f"[\0{HIT}{HIT_END}]")

JOINT = "\u200b"
"""Between the characters of Chinese and Japanese, which put no space between words."""
_UNSPACED = (
    "\u3041-\u3096\u30a1-\u30fa\u30fc-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
)
_CHARACTER = re.compile(f"([{_UNSPACED}])")


def findable(text: str) -> str:
    """A text as the index has it: its words are told apart, and nothing in it stands for a hit."""
    return _CHARACTER.sub(f"{JOINT}\\1{JOINT}", _OWN.sub(" ", text))


def readable(text: str) -> str:
    """A text of the index as it was."""
    return text.replace(JOINT, "")
