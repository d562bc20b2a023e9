"""tfgraphopt: TensorFlow graphs in, TensorFlow graphs with TensorRT engines out.

A process that imports this package and TensorFlow, in either order, loads models with engines (:mod:`tfgraphopt.registration`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wrapt

from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import TfGraphOptError
from tfgraphopt.hookspecs import hookimpl

if TYPE_CHECKING:
    from tfgraphopt.classic import calib_graph_to_infer_graph, create_inference_graph
    from tfgraphopt.gpu_memory import gpu_memory_split
    from tfgraphopt.optimization import Result, optimize, optimize_graph_def
    from tfgraphopt.passes import Pass
    from tfgraphopt.pipeline import Pipeline
    from tfgraphopt.profiling import shape_ranges

__version__ = "0.1.0"

_LAZY = {
    "calib_graph_to_infer_graph": "tfgraphopt.classic",
    "create_inference_graph": "tfgraphopt.classic",
    "gpu_memory_split": "tfgraphopt.gpu_memory",
    "optimize": "tfgraphopt.optimization",
    "optimize_graph_def": "tfgraphopt.optimization",
    "Result": "tfgraphopt.optimization",
    "Pass": "tfgraphopt.passes",
    "Pipeline": "tfgraphopt.pipeline",
    "shape_ranges": "tfgraphopt.profiling",
}

__all__ = [
    "Config", "Pass", "Pipeline", "Result", "ShapeRange", "TfGraphOptError", "calib_graph_to_infer_graph",
    "create_inference_graph", "gpu_memory_split", "hookimpl", "optimize", "optimize_graph_def", "shape_ranges",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs TensorFlow only when it is used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tfgraphopt' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


# Last, for it runs at once where TensorFlow is imported already, and may import what imports this package.
wrapt.register_post_import_hook("tfgraphopt.registration:tensorflow_imported", "tensorflow")
