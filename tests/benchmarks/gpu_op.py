"""What an engine node costs on a GPU over an op of TensorFlow: ``PYTHONPATH=tests python -m benchmarks.gpu_op [--json FILE]``.

A chain of nodes runs in one session call; the time of the call divided by the length is what one node costs, for a chain that
is longer than its ends. Chains take turns. The kernels are tiny, so the CPU decides: it is what the ABI, the pool and the
allocations cost. Grappler is off: it would shorten TensorFlow's own chain.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import numpy as np
import tensorflow as tf
from engine_op.graphs import session
from gpu.graphs import chain
from gpu.runtimes import IdleRuntime, PyCudaRuntime, cuda_library

from tfgraphopt_trt import engine_op as eo

LENGTH, ROUNDS = 200, 60
BASE = "TensorFlow: Relu"


def main() -> None:
    """Measure, print a table, and write the numbers where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--length", type=int, default=LENGTH, help="nodes of a chain (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="calls of each chain (default: %(default)s)")
    options = parser.parse_args()
    with _runtimes() as has_pycuda, ExitStack() as stack:
        costs = _costs(_chains(options.length, has_pycuda, stack), options)
        rates = {threads: _rates(threads, stack) for threads in (1, 2, 4, 8)}
    result = {"gpu": _gpu(), "microseconds a node": costs, "calls a second, by threads": rates}
    print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


@contextmanager
def _runtimes() -> Iterator[bool]:
    """The runtimes of the tests, registered; whether PyCUDA's is one of them."""
    from tfgraphopt_pycuda import pycuda_api

    eo.load()
    problem = pycuda_api.unusable()
    with ExitStack() as stack:
        stack.enter_context(eo.register_native_runtime("cuda", cuda_library(), "cuda_runtime"))
        stack.enter_context(eo.register_runtime("idle", IdleRuntime()))
        if problem is None:
            stack.enter_context(eo.register_runtime("pycuda", PyCudaRuntime()))
        yield problem is None


def _chains(length: int, has_pycuda: bool, stack: ExitStack) -> dict[str, Callable[[], object]]:
    plans = {
        "engine, native, nothing enqueued": ("cuda", b"batch=1-16 launch=0"),
        "engine, native, one kernel": ("cuda", b"scale=1 batch=1-16"),
        "engine, native, two kernels and scratch": ("cuda", b"scale=1 batch=1-16 scratch=0"),
        "engine, Python, nothing enqueued": ("idle", b"any"),
    }
    if has_pycuda:
        plans["engine, Python, two kernels by ctypes and scratch"] = ("pycuda", b"1")
    graphs = {BASE: _relus(length)}
    for name, (runtime, plan) in plans.items():
        graphs[name] = chain(length, runtime=runtime, serialized_segment=plan, strict=True)
    return {name: _call(graph_def, stack) for name, graph_def in graphs.items()}


def _relus(length: int) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph, tf.device("/GPU:0"):
        h = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        for _ in range(length):
            h = tf.nn.relu(h)
        tf.identity(h, name="y")
    return graph.as_graph_def()


def _call(graph_def: tf.compat.v1.GraphDef, stack: ExitStack) -> Callable[[], object]:
    """A call that fetches nothing but one number."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    s = stack.enter_context(session(graph_def, config))
    call = s.make_callable("y:0", ["x:0"])
    x = np.ones((2, 8), np.float32)
    return lambda: call(x)


def _costs(chains: dict[str, Callable[[], object]], options: argparse.Namespace) -> dict[str, float]:
    """Median microseconds of one node, chain by chain, the chains in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in chains}
    for call in chains.values():
        for _ in range(5):
            call()
    for _ in range(options.rounds):
        for name, call in chains.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) / options.length * 1e6 for name, values in seconds.items()}


def _rates(threads: int, stack: ExitStack) -> tuple[float, float]:
    """Calls a second of one session by several threads: of one Relu, and of one engine (two kernels and scratch)."""
    engine = chain(1, runtime="cuda", serialized_segment=b"scale=1 batch=1-16 scratch=0", strict=True)
    return _rate(_call(_relus(1), stack), threads), _rate(_call(engine, stack), threads)


def _rate(call: Callable[[], object], threads: int) -> float:
    count = 400 * threads
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: call(), range(8 * threads)))
        started = time.perf_counter()
        list(pool.map(lambda _: call(), range(count)))
        return count / (time.perf_counter() - started)


def _gpu() -> str:
    (first, *_) = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(first).get("device_name", first.name))


def _table(result: dict[str, object]) -> str:
    costs = result["microseconds a node"]
    rates = result["calls a second, by threads"]
    assert isinstance(costs, dict)
    assert isinstance(rates, dict)
    rows = [f"| {name} | {cost:.1f} | {cost - costs[BASE]:+.1f} |" for name, cost in costs.items()]
    lines = [f"on {result['gpu']}", "", "| one node | us | over TensorFlow's |", "| --- | --- | --- |", *rows, ""]
    lines += ["| threads | calls a second of one Relu | of one engine |", "| --- | --- | --- |"]
    lines += [f"| {threads} | {relu:.0f} | {engine:.0f} |" for threads, (relu, engine) in rates.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
