"""XLA as a kind of engine."""

from __future__ import annotations

import importlib
from typing import Any

from tfgraphopt_trt.hookspecs import EngineKind

NAME = "xla"


def _no_gpu() -> str | None:
    """XLA compiles for CPUs too, but is slower there than TensorFlow's own kernels on many networks, so only a GPU counts."""
    tf: Any = importlib.import_module("tensorflow")
    return None if tf.config.list_physical_devices("GPU") else "TensorFlow sees no GPU"


KIND = EngineKind(NAME, "TfgraphoptEngineOp", NAME, _no_gpu, rank=25, prefix="XlaEngine")
