"""What packages look like, and how they are read and written."""
