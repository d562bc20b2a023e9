"""The PyCUDA plugin: engines by themselves, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.benchmark import Contestant, EngineRequest
from tfgraphopt.diagnosis import Diagnosis
from tfgraphopt.hookspecs import hookimpl


@hookimpl
def tfgraphopt_bench_engine(request: EngineRequest) -> Contestant | None:
    """Plans of runtimes that run on a GPU."""
    from tfgraphopt_pycuda import bench

    return bench.contestant(request)


@hookimpl
def tfgraphopt_diagnoses() -> Iterable[Diagnosis]:
    """PyCUDA and the memory of the GPUs."""
    from tfgraphopt_pycuda.diagnosing import DIAGNOSES

    return DIAGNOSES
