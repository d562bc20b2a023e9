"""Importing this module makes this process able to run optimised graphs: ``import tfgraphopt.runtime``.

It is the one module of tfgraphopt whose import does something: it registers the engine ops of all installed plugins with
TensorFlow, as the import of any library of custom ops does. The first time it compiles them (about a minute, then cached).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgraphopt import plugins
from tfgraphopt.runtimes import EngineRuntime

_RUNTIMES: tuple[EngineRuntime, ...] = plugins.load().items("tfgraphopt_runtimes")
for _runtime in _RUNTIMES:
    _runtime.load()


def counters() -> Mapping[str, Any]:
    """Per engine node name, what it has done in this process: ``engine_runs``, ``fallback_runs``, ``fallbacks`` by reason."""
    return {name: count for runtime in _RUNTIMES for name, count in runtime.counters().items()}


def reset_counters() -> None:
    """Start counting anew."""
    for runtime in _RUNTIMES:
        runtime.reset()
