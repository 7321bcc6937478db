"""The one exception a user is meant to see.

Every command turns a :class:`UserError` into a single line on stderr and exit code 2. The
message says what is wrong, where (file, key, value) and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input from a person: a config, a file, an argument."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known name, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
