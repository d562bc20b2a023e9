"""A model of more than 2 GB through ``optimize``, ``save`` and ``load``, each in a process of its own: seconds, bytes, peak memory.

``python tests/benchmarks/beyond_2gb.py [--engine tensorrt|openvino|xla] [--layers 11] [--directory DIR]``. The model is an encoder of
Keras layers, 2048 wide, with random weights (200 MB of float32 a layer), exported as a SavedModel by Keras. The optimised model is
loaded in a fresh process and its results are compared with those of the original, which ran in a process that knows nothing of
tfgraphopt. Peak memory is that of one process (``ru_maxrss``); that of the builder's own process is shown besides. Needs about 8 GB of
disk and 14 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if not __package__:  # run as a script: the tests' packages are beside its own
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

WIDTH, HEADS, INNER, LENGTH = 2048, 16, 8192, 16
BATCH = 2
TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest result."""

Facts = dict[str, Any]


def write(options: argparse.Namespace) -> Facts:
    """Make the model and export it."""
    import keras

    kl = keras.layers
    x = tokens = keras.Input((LENGTH, WIDTH), name="x")
    for _ in range(options.layers):
        mixed = kl.MultiHeadAttention(HEADS, WIDTH // HEADS)(x, x)
        x = kl.LayerNormalization()(x + mixed)
        wide = kl.Dense(INNER, activation="gelu")(x)
        x = kl.LayerNormalization()(x + kl.Dense(WIDTH)(wide))
    model = keras.Model(tokens, x)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("bias", "beta"):
            variable.assign(rng.normal(0, 0.1, variable.shape).astype(np.float32))
    model.export(str(options.directory / "model"), verbose=False)
    return {"weights": sum(int(np.prod(v.shape)) * 4 for v in model.weights)}


def reference(options: argparse.Namespace) -> Facts:
    """Run the original."""
    np.save(options.directory / "expected.npy", _answer(options.directory / "model"))
    return {}


def optimise(options: argparse.Namespace) -> Facts:
    """Optimise and save."""
    import tfgraphopt as tgo

    started = time.perf_counter()
    kept = {"engine_cache": False}
    result = tgo.optimize(
        options.directory / "model", engine=options.engine, max_batch_size=BATCH, build_timeout=3600.0, options=kept
    )
    optimised = time.perf_counter()
    result.save(options.directory / "optimised")
    saved = time.perf_counter()
    segments = result.report.segments.values()
    return {
        "optimize s": optimised - started, "save s": saved - optimised, "engines": len(segments),
        "states": sorted({s.status for s in segments}), "engine bytes": sum(s.engine_bytes for s in segments),
        "build s": sum(s.build_seconds for s in segments), "messages": result.report.messages,
    }  # fmt: skip


def run(options: argparse.Namespace) -> Facts:
    """Load the optimised model, run it and compare."""
    import tfgraphopt.runtime

    found = _answer(options.directory / "optimised")
    expected = np.load(options.directory / "expected.npy")
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error <= TOLERANCE:
        raise SystemExit(f"the results differ by {error:.1e}")
    counts = tfgraphopt.runtime.counters().values()
    return {
        "error": error, "engine runs": sum(c.engine_runs for c in counts), "fallback runs": sum(c.fallback_runs for c in counts),
    }  # fmt: skip


def _answer(directory: Path) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    function = tf.saved_model.load(str(directory)).signatures["serving_default"]
    x = np.random.default_rng(1).normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
    (result,) = function(x=tf.constant(x)).values()
    return np.asarray(result.numpy())


STEPS: dict[str, Callable[[argparse.Namespace], Facts]] = {
    "write": write, "reference": reference, "optimise": optimise, "run": run,
}  # fmt: skip


def main() -> None:
    """Run every step in a process of its own, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="tensorrt")
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--directory", type=Path, help="where models are kept; one that is there is used")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_measured(STEPS[options.step], options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        options.directory = options.directory or Path(scratch)
        for step in STEPS:
            if step in ("write", "reference") and (options.directory / "expected.npy").exists():
                continue
            print(step, _in_process(step, options), flush=True)
        print("files", _sizes(options.directory), flush=True)


def _measured(step: Callable[[argparse.Namespace], Facts], options: argparse.Namespace) -> Facts:
    started = time.perf_counter()
    facts = step(options)
    peak, builder = (
        resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {**facts, "seconds": time.perf_counter() - started, "peak": peak, "builder peak": builder}


def _in_process(step: str, options: argparse.Namespace) -> str:
    command = [sys.executable, __file__, "--step", step, "--engine", options.engine, "--layers", str(options.layers)]
    done = subprocess.run(
        [*command, "--directory", str(options.directory)], stdout=subprocess.PIPE, text=True, check=True
    )
    facts = json.loads(done.stdout.splitlines()[-1])
    return ", ".join(f"{name} {_shown(name, value)}" for name, value in facts.items())


def _shown(name: str, value: object) -> str:
    large = isinstance(value, int) and value > 1 << 20
    return f"{value / 1e9:.2f} GB" if large else f"{value:.3g}" if isinstance(value, float) else str(value)


def _sizes(directory: Path) -> dict[str, str]:
    files = [p for p in (directory / "optimised").rglob("*") if p.is_file()]
    return {str(p.relative_to(directory)): f"{p.stat().st_size / 1e9:.3f} GB" for p in sorted(files)}


if __name__ == "__main__":
    main()
