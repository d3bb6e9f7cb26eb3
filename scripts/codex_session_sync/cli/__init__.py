"""The command line: one module a command, which reads options and returns a report."""
