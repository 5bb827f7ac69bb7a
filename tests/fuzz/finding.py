"""What a fuzzed piece of code must not do."""

from __future__ import annotations


class Finding(Exception):
    """Something other than a result or an error of the project's own tree."""
