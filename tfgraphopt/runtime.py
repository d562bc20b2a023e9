"""What engines have done in this process; its import raises what keeps them from running.

``import tfgraphopt`` beside TensorFlow makes a process able to run optimised graphs (:mod:`tfgraphopt.registration`), and logs where
it cannot. ``import tfgraphopt.runtime`` does the same for the engine runtimes of all plugins, and raises instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgraphopt import plugins, registration, runtimes
from tfgraphopt.runtimes import EngineRuntime

with registration.left_to_caller():
    _RUNTIMES: tuple[EngineRuntime, ...] = plugins.load().items("tfgraphopt_runtimes")
    for _runtime in _RUNTIMES:
        runtimes.load(_runtime)


def counters() -> Mapping[str, Any]:
    """Per engine node name, what it has done in this process: ``engine_runs``, ``fallback_runs``, ``fallbacks`` by reason."""
    return {name: count for runtime in _RUNTIMES for name, count in runtime.counters().items()}


def reset_counters() -> None:
    """Start counting anew."""
    for runtime in _RUNTIMES:
        runtime.reset()
