"""The import service: other programs hand sessions over, frame by frame."""
