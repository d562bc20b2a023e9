"""The engine op and OpenVINO's runtime, as a process loads them that only runs models (no plugin is imported for it)."""

from __future__ import annotations

from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_openvino import runtime_library
from tfgraphopt_openvino.openvino_api import NAME
from tfgraphopt_trt import engine_op

RUNTIME = EngineRuntime(NAME, runtime_library.load, engine_op.counters, engine_op.reset_counters)
