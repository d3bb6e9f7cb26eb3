"""The write-ahead journal: what every transaction changes, and how each change is undone."""
