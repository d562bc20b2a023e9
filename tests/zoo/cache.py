"""Frozen models on disk: each is built once, in a process of its own, and read from then on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from zoo import frozen

CODE_VERSION = 2
"""To be raised by hand whenever a change of this package changes a graph it builds."""


def directory() -> Path:
    """Where frozen models are kept: TFGRAPHOPT_TEST_CACHE, or tfgraphopt-tests in the user's cache directory."""
    chosen = os.environ.get("TFGRAPHOPT_TEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(chosen) if chosen else Path(base) / "tfgraphopt-tests"


def entry(name: str, seed: int) -> Path:
    """The folder of a model: name, seed, versions of TensorFlow and Keras and of this package's code make its name."""
    key = f"{name}-s{seed}-tf{version('tensorflow')}-keras{version('keras')}-v{CODE_VERSION}"
    return directory() / re.sub(r"[^\w.+-]", "_", key)


def store(model: frozen.FrozenModel, folder: Path) -> None:
    """Writes `model` to `folder` at one stroke: a reader sees all of it or nothing; the first writer wins."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        frozen.save(model, scratch)
        with contextlib.suppress(OSError):
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not folder.is_dir():
        raise OSError(f"could not write the frozen model {model.name} to {folder}")


def fetch(name: str, seed: int) -> frozen.FrozenModel:
    """The model, from the cache or built by `python -m zoo.worker` in a process of its own.

    A process of its own gives stable node names (Keras numbers layers per process), leaves the caller's random state
    alone and gives the memory back. Raises RuntimeError with the end of the worker's output where it fails.
    """
    folder = entry(name, seed)
    if not folder.is_dir():
        _build_apart(name, seed, folder)
    return frozen.load(folder)


def _build_apart(name: str, seed: int, folder: Path) -> None:
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "zoo.worker", name, str(seed), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"building {name} failed (exit status {done.returncode}):\n{done.stderr[-3000:]}")
