"""What users get to see: the JSON envelope, text, progress."""
