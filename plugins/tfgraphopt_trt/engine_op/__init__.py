"""The op that runs engines inside a TensorFlow graph, and what talks to it: runtimes, counters.

``load()`` must have run in a process before it imports a graph that holds engine nodes. It compiles the op's C++
sources against the installed TensorFlow on first use (under a minute, once per TensorFlow version) and registers the
ops ``TRTEngineOp`` and ``TfgraphoptEngineOp``. A node runs its plan through the engine runtime registered under the
name in its attribute ``runtime``; where none can, TensorFlow runs the segment's body, which `counters` shows and the
log says once per node and reason.
"""

from __future__ import annotations

from .abi import CallInfo, Device, DoesNotFit, Engine, EngineContext, EngineInfo, Resolution, Runtime, TensorView
from .library import (
    EngineCounters,
    LiveObjects,
    Registration,
    counters,
    is_compiled,
    live_objects,
    load,
    register_native_runtime,
    register_runtime,
    reset_counters,
)

__all__ = [
    "CallInfo",
    "Device",
    "DoesNotFit",
    "Engine",
    "EngineContext",
    "EngineCounters",
    "EngineInfo",
    "LiveObjects",
    "Registration",
    "Resolution",
    "Runtime",
    "TensorView",
    "counters",
    "is_compiled",
    "live_objects",
    "load",
    "register_native_runtime",
    "register_runtime",
    "reset_counters",
]
