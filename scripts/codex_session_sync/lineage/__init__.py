"""What a session is: fingerprints, matches, classes, sidecars."""
