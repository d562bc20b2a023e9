"""Engines without TensorFlow: device memory, streams and events by PyCUDA, engine runtimes by their C ABI.

`PlanRunner` runs and times a plan by any engine runtime, one written in Python or, through `NativeRuntime`, one of a shared
library; `Kernel` puts a CUDA kernel on anybody's stream. Nothing here imports PyCUDA before it is needed.
"""

from __future__ import annotations

from tfgraphopt_pycuda.gpu import Gpu, MemoryInfo
from tfgraphopt_pycuda.kernel import Kernel
from tfgraphopt_pycuda.native_runtime import NativeRuntime
from tfgraphopt_pycuda.plan_runner import PlanRunner, RunTimes

__all__ = ["Gpu", "Kernel", "MemoryInfo", "NativeRuntime", "PlanRunner", "RunTimes"]
