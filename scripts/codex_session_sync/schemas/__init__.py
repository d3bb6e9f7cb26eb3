"""JSON Schemas of the documents that this program reads and writes."""
