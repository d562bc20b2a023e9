"""List, prune and clear what tfgraphopt keeps on this machine: built engines, compiled ops, and what plugins keep.

ls lists the entries, rm removes some (by the start of their key or by name) or all, prune removes those used longest ago,
path prints the directories.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.caches import CacheEntry, ManagedCache

HELP = "list, prune and clear caches"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=tuple(_ACTIONS), help="what to do")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="with rm: entries, by the start of their key or by name")
    parser.add_argument("--cache", metavar="NAME", help="this cache only (default: all, see ls)")
    parser.add_argument("--all", action="store_true", help="with rm: every entry")
    parser.add_argument(
        "--max-bytes",
        metavar="SIZE",
        help="with prune: bytes to leave in each cache, such as 500M (default: its own bound)",
    )
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Do it and print."""
    caches = _chosen(options)
    tree, lines = _ACTIONS[options.action](options, caches)
    if options.json:
        common.print_json(tree)
        return 0
    console = common.console()
    for line in lines:
        console.print(line, highlight=False)
    return 0


Answer = tuple[Any, list[Any]]
"""As JSON data, and as what is printed."""


def _chosen(options: argparse.Namespace) -> dict[str, ManagedCache]:
    caches: Mapping[str, ManagedCache] = common.load_plugins(options).table("tfgraphopt_caches")
    if options.cache is not None and options.cache not in caches:
        raise ConfigError(f"there is no cache {options.cache!r}", hint=f"there are {', '.join(sorted(caches))}")
    return {n: c for n, c in sorted(caches.items()) if options.cache in (None, n)}


def _path(options: argparse.Namespace, caches: Mapping[str, ManagedCache]) -> Answer:
    paths = {name: str(cache.directory()) for name, cache in caches.items()}
    shown = list(paths.values()) if options.cache else [f"{name:10} {path}" for name, path in paths.items()]
    return paths, [escape(line) for line in shown]


def _ls(options: argparse.Namespace, caches: Mapping[str, ManagedCache]) -> Answer:
    entries = {name: list(cache.entries()) for name, cache in caches.items()}
    tree = {
        name: {
            "path": str(caches[name].directory()), "bytes": _total(found), "max_bytes": caches[name].max_bytes,
            "entries": [attrs.asdict(e) for e in found],
        }
        for name, found in entries.items()
    }  # fmt: skip
    return tree, [_table(name, caches[name], found) for name, found in entries.items()]


def _total(entries: Sequence[CacheEntry]) -> int:
    return sum(e.bytes for e in entries)


def _table(name: str, cache: ManagedCache, entries: Sequence[CacheEntry]) -> Table:
    bound = f" of {_size(cache.max_bytes)}" if cache.max_bytes is not None else ""
    table = Table(title=f"{name}: {len(entries)} entries, {_size(_total(entries))}{bound}", title_justify="left")
    for column in ("key", "name", "size", "last used"):
        table.add_column(column, overflow="fold")
    for e in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(e.used)) if e.used else "never"
        table.add_row(escape(e.key[:16]), escape(e.name), _size(e.bytes), used)
    return table


def _rm(options: argparse.Namespace, caches: Mapping[str, ManagedCache]) -> Answer:
    if bool(options.keys) == options.all:
        raise ConfigError("rm needs either keys or --all", hint="tfgraphopt cache ls shows the keys")
    wanted = tuple(options.keys)
    removed = {}
    for name, cache in caches.items():
        keys = [e.key for e in cache.entries() if options.all or e.key.startswith(wanted) or e.name in wanted]
        removed[name] = cache.remove(keys)
    if options.keys and not sum(removed.values()):
        raise ConfigError(f"no entry has a key that starts with, or the name, {' or '.join(options.keys)}")
    return _counted(removed)


def _prune(options: argparse.Namespace, caches: Mapping[str, ManagedCache]) -> Answer:
    limit = None if options.max_bytes is None else _bytes(options.max_bytes)
    return _counted({name: cache.prune(limit) for name, cache in caches.items()})


def _counted(removed: Mapping[str, int]) -> Answer:
    return {"removed": dict(removed)}, [f"{name}: {count} removed" for name, count in removed.items()]


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, Mapping[str, ManagedCache]], Answer]] = {
    "ls": _ls, "rm": _rm, "prune": _prune, "path": _path,
}  # fmt: skip


def _bytes(text: str) -> int:
    number, unit = text.upper().removesuffix("B").removesuffix("I"), ""
    if number[-1:] in _UNITS and number[-1:]:
        number, unit = number[:-1], number[-1]
    try:
        return int(float(number) * _UNITS[unit])
    except ValueError as error:
        raise ConfigError(f"{text!r} is no size", hint="such as 0, 500M or 2G") from error


def _size(count: int | None) -> str:
    size = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""
