"""All that knows how Codex keeps sessions on disk."""
