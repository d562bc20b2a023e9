"""Builds that failed, remembered beside the engines: what took an hour to fail once is not tried again by every optimisation.

A memory is a small JSON file ``<key>.failed`` in the engine cache, under the key that the engine would have. It counts as long as the
limits of a build are no wider than they were then.
"""

from __future__ import annotations

import json
from typing import Any

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.files import write_atomically
from tfgraphopt_trt.build_options import BuildOptions, NoBuilder
from tfgraphopt_trt.builder_process import BuilderDied
from tfgraphopt_trt.engine_cache import EngineCache
from tfgraphopt_trt.trusted import is_trusted_file
from tfgraphopt_trt.worker_protocol import error_reply, read_reply


def remember(cache: EngineCache, key: str, name: str, error: EngineBuildFailed, options: BuildOptions) -> None:
    """Keep ``error``; not when it is about the machine rather than the network, or names no node (who knows what it was)."""
    if isinstance(error, NoBuilder) or not error.where:
        return
    plain = EngineBuildFailed(error.what, where=error.where, why=error.why) if isinstance(error, BuilderDied) else error
    record = {"name": name, "limits": _limits(options), "reply": error_reply(plain)[0]}
    write_atomically(cache.failed_path(key), json.dumps(record).encode())


def recall(cache: EngineCache, key: str, options: BuildOptions) -> EngineBuildFailed | None:
    """The error of an earlier build that had no less time and memory, or None."""
    path = cache.failed_path(key)
    if not is_trusted_file(path):
        return None
    try:
        record = json.loads(path.read_bytes())
        if not all(_within(new, old) for new, old in zip(_limits(options), record["limits"], strict=True)):
            return None
        read_reply(record["reply"], b"")
    except EngineBuildFailed as error:
        return error
    except (OSError, ValueError, KeyError, TypeError):  # pruned meanwhile, or damaged: the build tells again
        path.unlink(missing_ok=True)
    return None


def _limits(options: BuildOptions) -> list[Any]:
    return [options.timeout_seconds, options.memory_limit_bytes]


def _within(new: float | None, old: float | None) -> bool:
    """Whether a limit is no wider than another (None is none at all)."""
    return old is None or (new is not None and new <= old)
