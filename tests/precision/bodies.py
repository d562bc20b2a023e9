"""Lowered bodies for tests: one from a few lines, random ones with their numbers to feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphopt import plugins
from tfgraphopt.config import Config
from tfgraphopt.ir import Graph, Module, Shape, TensorType, Value
from tfgraphopt.ir.types import DType
from tfgraphopt.passes import Context
from tfgraphopt.report import Report, SegmentReport
from tfgraphopt_precision.deciding import Decider
from tfgraphopt_precision.modes import MODES
from tfgraphopt_precision.rules import PrecisionRule, RuleSet, Surroundings
from tfgraphopt_precision.settings import Settings
from tfgraphopt_precision.shipped import RULES
from tfgraphopt_trt.builder import LayerBuilder, Pads
from tfgraphopt_trt.layers import layer_map, layer_table

Array = np.ndarray[Any, Any]
LAYERS = layer_map()
TABLES = plugins.load(strict=True)


class Writer:
    """Writes a body: every layer gets the name it is asked to have, which is also its origin."""

    def __init__(self, **inputs: Sequence[int | None]) -> None:
        self.graph = Graph("body", layer_table(), dialect="trt")
        self.values = {n: self.graph.add_input(n, TensorType(DType.FLOAT, Shape(d))) for n, d in inputs.items()}

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def at(self, name: str) -> LayerBuilder:
        """A builder whose layers are called ``name``."""
        builder = LayerBuilder(self.graph, name=name)
        builder.origin = (f"tf/{name}",)
        return builder

    def done(self, *outputs: Value) -> Graph:
        """The body that returns ``outputs``."""
        self.graph.set_outputs(outputs, [f"out{i}" for i in range(len(outputs))])
        return self.graph


def convolution(w: Writer, x: Value, maps: int, name: str, scale: float = 0.1) -> Value:
    """A 3 x 3 convolution with random weights."""
    channels = x.shape[1]
    assert channels is not None
    kernel = scale * np.random.default_rng(maps).normal(size=(maps, channels, 3, 3)).astype(np.float32)
    weights = w.at(f"{name}/kernel").constant(kernel)
    return w.at(name).convolution(x, weights, stride=(1, 1), pads=Pads("explicit", (1, 1), (1, 1)), dilation=(1, 1))


def decider(
    mode: str = "fp16", rules: Sequence[PrecisionRule] = RULES, *, ranges: Any = None, pins: Any = None, replayed: Any = None,
    **settings: Any,
) -> Decider:  # fmt: skip
    """A decider with the shipped rules."""
    chosen = Settings(**settings)
    given = {} if ranges is None else {"ranges": ranges}
    around = Surroundings(
        MODES[mode], max_reduce_depth=chosen.max_reduce_depth, max_product_depth=chosen.max_product_depth,
        max_value=chosen.max_value, **given,
    )  # fmt: skip
    return Decider(RuleSet.of(rules), chosen, around, pins or {}, replayed)


def context(graph: Graph, precision: str = "fp16", options: Mapping[str, Any] | None = None) -> Context:
    """What a pass on ``graph`` gets."""
    main = Graph("main", layer_table())
    module = Module(main, main.ops, lowered={graph.name: graph})
    report = Report(segments={graph.name: SegmentReport(graph.name, len(graph), {})})
    return Context(module, Config(precision=precision, options={"precision": dict(options or {})}), TABLES, report)


def precisions(graph: Graph, decide: Callable[[Graph], Any]) -> dict[str, str]:
    """The precision of every layer by name."""
    return {name: layer.precision for name, layer in decide(graph).layers.items()}
