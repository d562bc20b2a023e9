"""How TensorFlow and the engines share the memory of a GPU."""

from __future__ import annotations

import attrs

from tfgraphopt.errors import ConfigError


@attrs.frozen(slots=True)
class MemorySplit:
    """How much of a GPU TensorFlow may take.

    Attributes:
        total_bytes: memory of the GPU.
        workspace_bytes: what is left to others than TensorFlow.
        per_process_gpu_memory_fraction: TensorFlow's share, for ``tf.compat.v1.GPUOptions``.
        advice: lines for whoever deploys: the classic split, memory growth, and what this library's engines really need.
    """

    total_bytes: int
    workspace_bytes: int
    per_process_gpu_memory_fraction: float = attrs.field(init=False)
    advice: tuple[str, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.workspace_bytes < self.total_bytes:
            raise ConfigError(
                f"{self.workspace_bytes} bytes cannot be set aside of {self.total_bytes}",
                hint="give the memory of the GPU, and less than that for the engines",
            )
        object.__setattr__(self, "per_process_gpu_memory_fraction", 1 - self.workspace_bytes / self.total_bytes)
        object.__setattr__(self, "advice", self._advice())

    def _advice(self) -> tuple[str, ...]:
        left, total = (f"{n / 2**20:.0f} MiB" for n in (self.workspace_bytes, self.total_bytes))
        fraction = self.per_process_gpu_memory_fraction
        return (
            f"classic split, {left} of {total} left to TensorRT: tf.compat.v1.GPUOptions("
            f"per_process_gpu_memory_fraction={fraction:.4f}) and max_workspace_size_bytes={self.workspace_bytes}",
            "or memory growth, so that TensorFlow takes what it needs and no more: TF_FORCE_GPU_ALLOW_GROWTH=true in the "
            "environment, or tf.config.experimental.set_memory_growth(gpu, True) before the GPU is first used",
            "scratch memory of engines comes from TensorFlow's own pool when they run: beside the pool they need their weights "
            "and kernels (about the size of their plans) only, and the split above is more than enough",
            "engines are built in a process of its own, which needs memory beside TensorFlow's where a GPU is used to build: "
            "build before TensorFlow has taken its share, or with memory growth",
        )


def gpu_memory_split(total_bytes: int, workspace_bytes: int) -> MemorySplit:
    """Split a GPU's memory between TensorFlow and TensorRT as TF-TRT's guide advised: what is not workspace is TensorFlow's.

    With 12 GB in all and 4 GB of workspace TensorFlow gets the fraction 8/12. ``max_workspace_size_bytes`` should be
    ``workspace_bytes`` then; the builder keeps to it.

    Args:
        total_bytes: memory of the GPU.
        workspace_bytes: bytes to leave to TensorRT: 0 or more, and less than ``total_bytes``.

    Raises:
        ConfigError: the numbers are impossible.
    """
    return MemorySplit(total_bytes, workspace_bytes)
