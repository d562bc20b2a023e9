"""Built engines by content: what has been built once on this machine is not built again.

An entry is one file, ``<key>.plan``: 4 bytes magic, 4 bytes version, 8 bytes length of a JSON header, the header (facts
of the build and the plan's SHA-256), then the plan. It is written beside its place and renamed: readers see all or
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import filelock
import platformdirs

from tfgraphopt.caches import CacheEntry, ManagedCache
from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt.ir import Graph
from tfgraphopt.ir.pack import fingerprint
from tfgraphopt.passes import Context
from tfgraphopt_trt.build_options import BuildOptions, BuildResult
from tfgraphopt_trt.profiles import Profile
from tfgraphopt_trt.tensorrt_api import TensorRT
from tfgraphopt_trt.trusted import check_trusted, is_trusted_file

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"tgoe"
_VERSION = 1
DEFAULT_BYTES = 8 * 2**30
BYTES_VARIABLE = "TFGRAPHOPT_ENGINE_CACHE_BYTES"


def default_directory() -> Path:
    """``$TFGRAPHOPT_CACHE_DIR/engines``, else ``engines`` in this user's cache directory."""
    override = os.environ.get("TFGRAPHOPT_CACHE_DIR")
    return Path(override or platformdirs.user_cache_dir("tfgraphopt")) / "engines"


def default_bytes() -> int:
    """``$TFGRAPHOPT_ENGINE_CACHE_BYTES``, else 8 GiB.

    Raises:
        ConfigError: the variable is no number.
    """
    text = os.environ.get(BYTES_VARIABLE, "")
    if text and not text.isdecimal():
        raise ConfigError(f"{BYTES_VARIABLE} is {text!r}, no number of bytes")
    return int(text or DEFAULT_BYTES)


def cache_key(
    graph: Graph, profiles: Sequence[Profile], options: BuildOptions, tensorrt: TensorRT, device: str = ""
) -> str:
    """SHA-256 over all that decides about a plan: body, weights, profiles, options, flavour and version of TensorRT.

    Args:
        graph, profiles, options: what would be built.
        tensorrt: what would build it.
        device: the GPU of this machine (its model), which matters where ``tensorrt`` builds for that GPU only.
    """
    facts = {
        "options": options.of_plan(),
        "tensorrt": [tensorrt.flavour, tensorrt.version],
        "device": "" if tensorrt.is_portable else device,
    }
    return content_key(graph, profiles, facts)


def content_key(graph: Graph, profiles: Sequence[Profile], facts: Mapping[str, Any]) -> str:
    """SHA-256 over a lowered body with its weights, its profiles, and what else decides about a plan, as JSON data.

    ``facts`` is for an engine kind to fill: who builds, in which version, with which options, for what device.
    """
    body = {
        "body": fingerprint(graph),
        "profiles": [[[i, attrs.astuple(p[i])] for i in sorted(p)] for p in profiles],
        "format": _VERSION,
    }
    return hashlib.sha256(json.dumps({**facts, **body}, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """Engines in a directory that only this user can write.

    Args:
        directory: where; :func:`default_directory` by default. It is made when it is missing.
        max_bytes: after each :meth:`put` the entries used longest ago go until no more than this is left;
            :func:`default_bytes` by default.

    Raises:
        ConfigError: the directory cannot be made, or other users can write to it.
    """

    def __init__(self, directory: Path | None = None, max_bytes: int | None = None) -> None:
        self.directory = (directory or default_directory()).absolute()
        self.max_bytes = default_bytes() if max_bytes is None else max_bytes
        self._locks = self.directory / "locks"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_trusted(self.directory)
            self._locks.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the engine cache {self.directory} cannot be made",
                why=str(error),
                hint="set TFGRAPHOPT_CACHE_DIR to a directory that you can write, or switch the cache off",
            ) from error

    def path(self, key: str) -> Path:
        """Where the entry of ``key`` is, or would be."""
        return self.directory / f"{key}.plan"

    def failed_path(self, key: str) -> Path:
        """Where it is noted that the engine of ``key`` could not be built."""
        return self.directory / f"{key}.failed"

    def get(self, key: str) -> BuildResult | None:
        """The engine of ``key``, or None; a damaged entry is removed."""
        path = self.path(key)
        if not is_trusted_file(path):
            return None
        try:
            result = _read(path)
            with contextlib.suppress(PermissionError):  # an entry of root's
                os.utime(path)
        except FileNotFoundError:  # another process has pruned it meanwhile
            return None
        except (_Damaged, ConfigError):
            path.unlink(missing_ok=True)
            return None
        return result

    def put(self, key: str, result: BuildResult, name: str = "") -> Path:
        """Keep ``result`` under ``key``, shown as ``name`` in listings; returns the entry's path."""
        path = self.path(key)
        header = json.dumps({"key": key, "name": name, "sha256": result.sha256, "result": result.to_json()}).encode()
        write_atomically(path, [_PREFIX.pack(_MAGIC, _VERSION, len(header)), header, result.plan])
        self.prune(self.max_bytes, keep=key)
        return path

    def get_or_build(self, key: str, build: Callable[[], BuildResult], name: str = "") -> BuildResult:
        """The engine of ``key``; ``build`` makes it when there is none, while others that want it wait."""
        found = self.get(key)
        if found is not None:
            return found
        with self.building(key):
            found = self.get(key)
            if found is None:
                found = build()
                self.put(key, found, name)
            return found

    @contextlib.contextmanager
    def building(self, key: str) -> Iterator[None]:
        """Keep other processes and threads from building ``key``; the lock ends with the process that holds it."""
        with filelock.FileLock(self._locks / key[:3]):  # few lock files for many keys: they cannot be removed safely
            yield

    def ls(self) -> list[CacheEntry]:
        """The entries, used last first."""
        found = [entry for path in self.directory.glob("*.plan") if (entry := _entry(path)) is not None]
        found += [entry for path in self.directory.glob("*.failed") if (entry := _failed_entry(path)) is not None]
        return sorted(found, key=lambda e: (-e.used, e.key))

    def rm(self, keys: Sequence[str] | None = None) -> int:
        """Remove the entries whose keys start with one of ``keys`` (all by default); returns how many."""
        chosen = [e for e in self.ls() if keys is None or e.key.startswith(tuple(keys))]
        for entry in chosen:
            self._unlink(entry.key)
        return len(chosen)

    def prune(self, max_bytes: int | None = None, keep: str = "") -> int:
        """Remove the entries used longest ago (never ``keep``) until ``max_bytes`` are left; returns how many."""
        limit = self.max_bytes if max_bytes is None else max_bytes
        removed = 0
        with filelock.FileLock(self._locks / "prune"):
            self._sweep()
            entries = self.ls()
            total = sum(e.bytes for e in entries)
            for entry in reversed(entries):
                if total > limit and entry.key != keep:
                    self._unlink(entry.key)
                    total -= entry.bytes
                    removed += 1
        return removed

    def _unlink(self, key: str) -> None:
        for path in (self.path(key), self.failed_path(key)):
            path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what writers that were killed have left behind (older than a day: nobody writes that long)."""
        for path in self.directory.glob("*.part"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - 86400:
                    path.unlink()


class _Damaged(Exception):
    """An entry that is not what was written."""


def _read(path: Path) -> BuildResult:
    data = path.read_bytes()
    header, start = _header(data)
    plan = data[start:]
    if hashlib.sha256(plan).hexdigest() != header.get("sha256") or header.get("key") != path.stem:
        raise _Damaged
    return BuildResult.from_json(header["result"], plan, cached=True)


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    try:
        magic, version, length = _PREFIX.unpack_from(data)
        header = json.loads(data[_PREFIX.size : _PREFIX.size + length])
    except (struct.error, ValueError) as error:
        raise _Damaged from error
    if magic != _MAGIC or version != _VERSION or not isinstance(header, dict):
        raise _Damaged
    return header, _PREFIX.size + length


def _entry(path: Path) -> CacheEntry | None:
    try:
        status = path.stat()
        with path.open("rb") as file:
            start = file.read(_PREFIX.size)
            header, _ = _header(start + file.read(_PREFIX.unpack(start)[2]))
    except FileNotFoundError:
        return None
    except (OSError, _Damaged, struct.error, MemoryError, OverflowError):
        return CacheEntry(path.stem, "(damaged)", status.st_size, 0.0)
    return CacheEntry(path.stem, str(header.get("name", "")), status.st_size, status.st_mtime)


def _failed_entry(path: Path) -> CacheEntry | None:
    try:
        status, name = path.stat(), json.loads(path.read_bytes())["name"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return CacheEntry(path.stem, "(failed, damaged)", 0, 0.0)
    return CacheEntry(path.stem, f"(failed) {name}", status.st_size, status.st_mtime)


def cache_of(ctx: Context) -> EngineCache | None:
    """The engine cache of an optimisation; None when ``options={"engine_cache": False}`` or, said in the report, it cannot be used."""
    if not ctx.config.options.get("engine_cache", True):
        return None
    try:
        return EngineCache()
    except ConfigError as error:
        ctx.report.say(f"engines are not cached: {error}")
        return None


def managed() -> ManagedCache:
    """This user's engine cache, for the command line; looking at it does not make it."""

    def if_there(action: Callable[[EngineCache], Any], otherwise: Any) -> Any:
        return action(EngineCache()) if default_directory().is_dir() else otherwise

    return ManagedCache(
        "engines", default_directory,
        entries=lambda: if_there(EngineCache.ls, ()),
        remove=lambda keys: if_there(lambda cache: cache.rm(keys), 0),
        prune=lambda limit: if_there(lambda cache: cache.prune(limit), 0),
        max_bytes=default_bytes(),
    )  # fmt: skip
