"""Unique names within one graph."""

from __future__ import annotations

import re

LEGAL_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\\/>-]*")  # TensorFlow's rule, its internal names (_...) included


class Names:
    """Hands out names that are unique in TensorFlow's sense (case-insensitively distinct names stay distinct)."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def reserve(self, name: str) -> None:
        """Never hand out ``name``."""
        self._taken.add(name)

    def unique(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ``wanted_2``... when it is taken; linear in total over any number of calls."""
        name = wanted
        while name in self._taken:
            count = self._next.get(wanted, 0) + 1
            self._next[wanted] = count
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def release(self, name: str) -> None:
        """Allow ``name`` to be handed out again."""
        self._taken.discard(name)
