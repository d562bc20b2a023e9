"""A GPU: its primary context (which TensorFlow, TensorRT and the CUDA runtime use too) and how full its memory is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError
from tfgraphopt_pycuda import pycuda_api


@attrs.frozen(slots=True)
class MemoryInfo:
    """Bytes of device memory, of all processes: ``free`` and ``total``."""

    free: int
    total: int

    @property
    def used(self) -> int:
        """Bytes that somebody has taken."""
        return self.total - self.free


class Gpu:
    """One GPU by its CUDA ordinal; what is made inside ``with gpu.current():`` lives on it."""

    def __init__(self, ordinal: int = 0) -> None:
        """Retain the primary context of GPU ``ordinal``.

        Raises:
            MissingDependency: PyCUDA, the driver or a GPU is missing.
            ConfigError: there is no GPU of that number.
        """
        self.driver: Any = pycuda_api.load()
        count = self.driver.Device.count()
        if not 0 <= ordinal < count:
            raise ConfigError(f"there is no GPU {ordinal}", hint=f"CUDA numbers them 0 to {count - 1} here")
        self.ordinal = ordinal
        self._device = self.driver.Device(ordinal)
        self._context = self._device.retain_primary_context()

    @property
    def name(self) -> str:
        """What the driver calls it, such as ``NVIDIA H100 80GB HBM3``."""
        return str(self._device.name())

    @property
    def architecture(self) -> str:
        """What ``nvcc -arch`` calls it, such as ``sm_90``."""
        major, minor = self._device.compute_capability()
        return f"sm_{major}{minor}"

    @property
    def closed(self) -> bool:
        """Whether its context has been released."""
        return self._context is None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context the calling thread's for the duration of the block."""
        self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def memory(self) -> MemoryInfo:
        """Return how full its memory is."""
        with self.current():
            free, total = self.driver.mem_get_info()
        return MemoryInfo(free, total)

    def close(self) -> None:
        """Release the primary context; nothing that was made on the GPU may be used any more. Twice does no harm."""
        context, self._context = self._context, None
        if context is not None:
            context.detach()
