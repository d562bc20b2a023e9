"""What ``tfgraphopt doctor`` says of PyCUDA and of the memory of the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from tfgraphopt.diagnosis import Diagnosis, Finding
from tfgraphopt.errors import MissingDependency
from tfgraphopt.plugins import Tables
from tfgraphopt_pycuda import pycuda_api
from tfgraphopt_pycuda.gpu import Gpu


def check_pycuda(tables: Tables) -> Iterator[Finding]:
    """Whether engines can be timed by themselves, and how full each GPU is."""
    try:
        driver = pycuda_api.load()
    except MissingDependency as error:
        yield Finding("PyCUDA", "missing" if pycuda_api.is_absent() else "note", error.why, error.hint)
        return
    version = ".".join(map(str, driver.get_version()))
    yield Finding("PyCUDA", "ok", f"compiled for CUDA {version}; engines can be timed by themselves (tfgraphopt bench)")
    for ordinal in range(driver.Device.count()):
        yield _memory(ordinal)


def _memory(ordinal: int) -> Finding:
    gpu = Gpu(ordinal)
    memory = gpu.memory()
    name, architecture = gpu.name, gpu.architecture
    gpu.close()
    text = f"{name}, {architecture}, {memory.free / 2**20:.0f} of {memory.total / 2**20:.0f} MiB free"
    return Finding(f"memory of GPU {ordinal}", "ok", text)


DIAGNOSES = (Diagnosis("pycuda", check_pycuda, 20),)
