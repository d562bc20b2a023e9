"""Kernels that TensorRT for RTX has compiled on this GPU, kept from one process to the next.

TensorRT for RTX finishes an engine where it runs: it compiles kernels at the first run, for seconds. Its runtime cache holds them.
What is in such a file is executable code, so it comes from trusted directories only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import filelock
import platformdirs

from tfgraphopt.caches import ManagedCache, directory_cache
from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt_trt.trusted import check_trusted, is_trusted_file

MAX_BYTES = 2**30


def default_directory() -> Path:
    """``$TFGRAPHOPT_CACHE_DIR/rtx-kernels``, else ``rtx-kernels`` in this user's cache directory."""
    override = os.environ.get("TFGRAPHOPT_CACHE_DIR")
    return Path(override or platformdirs.user_cache_dir("tfgraphopt")) / "rtx-kernels"


def managed() -> ManagedCache:
    """This user's kernels, for the command line."""
    return directory_cache("rtx-kernels", default_directory, "*.kernels", MAX_BYTES)


@attrs.frozen(slots=True)
class KernelCache:
    """The kernels of one engine in a file.

    Attributes:
        path: of the file; its name carries the digest of the plan, the version of TensorRT and the GPU.
        cache: the ``IRuntimeCache`` that the engine's contexts share.
    """

    path: Path
    cache: Any

    @classmethod
    def opened(cls, path: Path, cache: Any) -> KernelCache:
        """``cache`` with what ``path`` holds; TensorRT itself passes over what does not fit this GPU or version.

        Raises:
            ConfigError: other users can write to the directory.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_trusted(path.parent)
        if is_trusted_file(path):
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                cache.deserialize(path.read_bytes())
        return cls(path, cache)

    def save(self) -> None:
        """Write what the cache holds now, unless the file holds as much; the last of several processes wins."""
        data = bytes(self.cache.serialize())
        with filelock.FileLock(self.path.with_suffix(".lock")):
            if not self.path.exists() or self.path.stat().st_size < len(data):
                write_atomically(self.path, data)
        managed().prune(None)


def saver(kernels: KernelCache) -> Callable[[], None]:
    """Saves ``kernels`` and swallows what goes wrong: it is called when an engine or the interpreter ends."""

    def save() -> None:
        with contextlib.suppress(OSError, ConfigError, RuntimeError, TypeError):
            kernels.save()

    return save
