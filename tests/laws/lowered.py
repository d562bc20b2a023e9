"""Passes on lowered bodies as changes to one body: what the contracts of ``tfgraphopt_trt.testing`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfgraphopt import Config, plugins
from tfgraphopt.ir import Graph, Module, Node
from tfgraphopt.passes import Context, Pass, PassManager
from tfgraphopt.report import Report, SegmentReport
from tfgraphopt_int8.int8 import Int8
from tfgraphopt_int8.sources import ORIGINAL, Original
from tfgraphopt_trt.layers import layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_trt.testing import Array, LoweredBody

TABLES = plugins.load(strict=True)
LAYERS = layer_map(TABLES.items("tfgraphopt_trt_layers"))


def context_of(graph: Graph, config: Config) -> Context:
    """What a pass gets when ``graph`` is the lowered body of the only segment."""
    main = Graph("main", layer_table())
    module = Module(main, main.ops, lowered={graph.name: graph})
    return Context(module, config, TABLES, Report(segments={graph.name: SegmentReport(graph.name, len(graph), {})}))


def change(step: Pass, config: Config | None = None) -> Callable[[Graph], object]:
    """Running ``step`` on a body; every run is an optimisation of its own."""
    return lambda graph: PassManager((step,)).run(context_of(graph, config or Config(engine="none")))


def quantise(body: LoweredBody) -> Callable[[Graph], object]:
    """Running ``int8`` on ``body`` with the ranges that its tensors have for its feeds, whatever the size of its layers."""
    graph, feeds = body
    names = {n: n.origin[0] for n in graph if len(n.origin) == 1 and len(n.outputs) == 1}
    original = Original(
        {name: frozenset(names[u] for u in n.users if u in names) for n, name in names.items()},
        dict.fromkeys(names.values(), 1),
    )
    ranges = _ranges(graph, feeds, names)
    options = {"rest": "fp32", "amax": ranges, "force": ["op=trt.convolution", "op=trt.matrix_multiply"]}
    config = Config(engine="none", precision="int8", options={"int8": options})

    def run(graph: Graph) -> None:
        ctx = context_of(graph, config)
        ctx.facts[ORIGINAL] = original
        PassManager((Int8(),)).run(ctx)

    return run


def _ranges(graph: Graph, feeds: Sequence[Array], names: Mapping[Node, str]) -> dict[str, float]:
    """The largest magnitude of every tensor of floating-point numbers, by the name of its node's origin."""
    floats = [n.output for n in names if n.output.dtype.is_floating]
    outputs, fetched = graph.outputs, graph.output_names
    graph.set_outputs(floats, [v.name for v in floats])
    found = evaluate(graph, LAYERS, feeds)
    graph.set_outputs(outputs, fetched)
    largest = (max(float(np.abs(a).max(initial=0.0)), 1e-6) for a in found)
    return {names[n]: amax for n, amax in zip((v.producer for v in floats), largest, strict=True) if n is not None}
