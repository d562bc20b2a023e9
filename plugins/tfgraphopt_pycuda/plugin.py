"""The PyCUDA plugin: engines by themselves, without TensorFlow."""

from __future__ import annotations

from tfgraphopt.benchmark import Contestant, EngineRequest
from tfgraphopt.hookspecs import hookimpl


@hookimpl
def tfgraphopt_bench_engine(request: EngineRequest) -> Contestant | None:
    """Plans of runtimes that run on a GPU."""
    from tfgraphopt_pycuda import bench

    return bench.contestant(request)
