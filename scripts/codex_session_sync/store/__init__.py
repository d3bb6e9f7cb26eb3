"""The store: packages, checkpoints, events and imports, beside the homes that they came from."""
