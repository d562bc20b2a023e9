"""Caches that tfgraphopt keeps on this machine, for ``tfgraphopt cache``: each plugin says what it keeps and where."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs


@attrs.frozen(slots=True)
class CacheEntry:
    """One thing in a cache.

    Attributes:
        key: unique in its cache.
        name: what it is called in listings.
        bytes: its size on disk.
        used: when it was last used, in seconds since 1970.
    """

    key: str
    name: str
    bytes: int
    used: float


@attrs.frozen(slots=True)
class ManagedCache:
    """A cache that can be looked at and cleared.

    Attributes:
        name: unique; what the command line calls it.
        directory: where it lies (it need not exist).
        entries: what is in it, used last first; nothing when it does not exist.
        remove: removes the entries of the given keys; returns how many it removed.
        prune: removes the entries used longest ago until so many bytes are left (its own bound for None); returns how many.
        max_bytes: its own bound; None when it has none.
        overrides: the plugin whose cache of this name it replaces.
    """

    name: str
    directory: Callable[[], Path]
    entries: Callable[[], Sequence[CacheEntry]]
    remove: Callable[[Sequence[str]], int]
    prune: Callable[[int | None], int]
    max_bytes: int | None = None
    overrides: str = ""


def directory_cache(
    name: str, directory: Callable[[], Path], pattern: str, max_bytes: int | None = None
) -> ManagedCache:
    """A cache whose entries are the files of ``directory`` that match ``pattern`` and may be deleted at any time."""
    files = _Files(directory, pattern, max_bytes)
    return ManagedCache(name, directory, files.entries, files.remove, files.prune, max_bytes)


@attrs.frozen(slots=True)
class _Files:
    directory: Callable[[], Path]
    pattern: str
    max_bytes: int | None

    def entries(self) -> list[CacheEntry]:
        found = []
        for path in self.directory().glob(self.pattern):
            with contextlib.suppress(FileNotFoundError):  # another process has removed it meanwhile
                status = path.stat()
                found.append(CacheEntry(path.name, path.stem, status.st_size, max(status.st_atime, status.st_mtime)))
        return sorted(found, key=lambda e: (-e.used, e.key))

    def remove(self, keys: Sequence[str]) -> int:
        removed = 0
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                (self.directory() / key).unlink()
                removed += 1
        return removed

    def prune(self, limit: int | None) -> int:
        bound = self.max_bytes if limit is None else limit
        entries = self.entries()
        total = sum(e.bytes for e in entries)
        gone = []
        for entry in reversed(entries):
            if bound is not None and total > bound:
                gone.append(entry.key)
                total -= entry.bytes
        return self.remove(gone)
