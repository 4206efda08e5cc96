"""Mutants that no test can catch, since they do the same: module, line, what stood there, what does now; and why."""

EQUIVALENT: dict[tuple[str, str, str, str], str] = {}
