"""The engine op and TensorRT's runtime, as a process loads them that only runs models (no plugin is imported for it)."""

from __future__ import annotations

from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_trt import engine_op, tensorrt_runtime
from tfgraphopt_trt.engine_ops import PLANS

RUNTIME = EngineRuntime(
    tensorrt_runtime.NAME, tensorrt_runtime.load_runtime, engine_op.counters, engine_op.reset_counters, PLANS
)
