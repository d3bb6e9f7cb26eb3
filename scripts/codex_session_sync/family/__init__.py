"""The family of sessions: what came from what, and which transactions and packages made it so."""
