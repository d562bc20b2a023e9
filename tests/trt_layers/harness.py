"""Layers with operands: their shape rules, their meaning (eager, traced, under XLA) and the real TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow as tf

from tfgraphopt.ir import DType, Graph, Shape, Tensor, TensorType, Value
from tfgraphopt_trt.build import build_plan
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.emit import EmittedNetwork, emit_network
from tfgraphopt_trt.layers import layer_map, layer_table
from tfgraphopt_trt.meaning import as_function, evaluate
from tfgraphopt_trt.profiles import InputRange
from tfgraphopt_trt.tensorrt_api import load

LAYERS = layer_map()
Array = np.ndarray[Any, Any]
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@attrs.frozen
class Const:
    """An input that the graph knows."""

    array: Array


@attrs.frozen
class Varying:
    """An attribute that depends on whether the dimensions are unknown."""

    make: Callable[[bool], Any]


@attrs.frozen
class Case:
    """A layer with operands and attributes.

    ``expected`` computes the results from the arrays by other means than the layer's own; ``known`` are the axes whose
    size TensorRT must know, so they stay known when the others are made unknown.
    """

    name: str
    op: str
    inputs: tuple[Array | Const, ...]
    attrs: Mapping[str, Any]
    expected: Callable[..., Any] | None = None
    known: tuple[int, ...] = ()
    xla: bool = True
    builds: bool = True
    scale: float = 1.0

    @property
    def arrays(self) -> list[Array]:
        """All operands."""
        return [i.array if isinstance(i, Const) else i for i in self.inputs]

    @property
    def feeds(self) -> list[Array]:
        """The operands that are fed at run time."""
        return [i for i in self.inputs if not isinstance(i, Const)]

    def graph(self, unknown: bool = False) -> Graph:
        """A graph of the layer alone; with ``unknown``, of the fed operands only the axes in ``known`` are known."""
        return combined([self], unknown)[0]

    def add_to(self, graph: Graph, unknown: bool = False) -> Sequence[Value]:
        """Add the layer and its operands to ``graph``; its results."""
        values = [self._value(graph, i, item, unknown) for i, item in enumerate(self.inputs)]
        attributes = {k: v.make(unknown) if isinstance(v, Varying) else v for k, v in self.attrs.items()}
        return graph.add(self.op, values, attributes, name=self.name).outputs

    def _value(self, graph: Graph, index: int, item: Array | Const, unknown: bool) -> Value:
        name = f"{self.name}/{index}"
        if isinstance(item, Const):
            return graph.add("trt.constant", [], {"value": Tensor.of(item.array)}, name=name).output
        dims = [None if unknown and i not in self.known else d for i, d in enumerate(item.shape)]
        return graph.add_input(name, TensorType(DType.of_numpy(item.dtype), Shape(dims)))

    def results(self) -> list[Array] | None:
        """What the layer should compute, as arrays."""
        if self.expected is None:
            return None
        found = self.expected(*self.arrays)
        return [np.asarray(f) for f in (found if isinstance(found, tuple) else [found])]

    def check(self, found: Sequence[Array], outputs: Sequence[Value]) -> None:
        """``found`` has the types that the shape rule announced, and the expected elements."""
        for array, value in zip(found, outputs, strict=True):
            actual = TensorType(DType.of_numpy(array.dtype), Shape(array.shape))
            assert actual.dtype is value.dtype, (actual, value.type)
            assert actual.shape.compatible(value.shape), (actual, value.type)
            assert actual.rank == value.type.rank
        expected = self.results()
        if expected is not None:
            assert len(expected) == len(found)
            for a, b in zip(found, expected, strict=True):
                self._compare(a, b)

    def _compare(self, found: Array, expected: Array) -> None:
        assert found.shape == expected.shape
        tolerance = TOLERANCE.get(found.dtype.name, 0.0) * self.scale
        if tolerance:
            np.testing.assert_allclose(
                found.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance, equal_nan=True
            )
        else:
            np.testing.assert_array_equal(found, expected)


def combined(cases: Iterable[Case], unknown: bool = False) -> tuple[Graph, list[Array]]:
    """One graph of several layers side by side (one trace, compilation or build for all), and what to feed it."""
    graph = Graph("cases", layer_table(), dialect="trt")
    chosen = list(cases)
    graph.set_outputs([v for case in chosen for v in case.add_to(graph, unknown)])
    return graph, [feed for case in chosen for feed in case.feeds]


def check_all(cases: Iterable[Case], graph: Graph, found: Sequence[Array]) -> None:
    """``found`` are the results of a :func:`combined` graph; names the case that differs."""
    results = list(zip(found, graph.outputs, strict=True))
    for case in cases:
        mine, results = [r for r in results if _of(r[1], case)], [r for r in results if not _of(r[1], case)]
        try:
            case.check([array for array, _ in mine], [value for _, value in mine])
        except AssertionError as error:
            raise AssertionError(f"case {case.name}: {error}") from error
    assert not results


def _of(value: Value, case: Case) -> bool:
    return value.producer is not None and value.producer.name == case.name


def run(graph: Graph, feeds: Sequence[Array]) -> list[Array]:
    """The layer's meaning, eagerly."""
    return evaluate(graph, LAYERS, feeds)


def traced(graph: Graph, feeds: Sequence[Array], **options: Any) -> list[Array]:
    """The layer's meaning in a tf.function whose inputs have only the dimensions that the graph knows."""
    signature = [tf.TensorSpec(v.shape.dims, v.dtype.tf_name) for v in graph.inputs]
    function = tf.function(as_function(graph, LAYERS), input_signature=signature, **options)
    concrete = function.get_concrete_function()
    for spec, value in zip(tf.nest.flatten(concrete.structured_outputs), graph.outputs, strict=True):
        assert spec.shape.is_compatible_with(value.shape.dims), (spec, value.type)
    return [t.numpy() for t in concrete(*(tf.constant(f) for f in feeds))]


def emitted(graph: Graph) -> EmittedNetwork:
    """The TensorRT network of ``graph``; raises where TensorRT infers something else than the shape rules."""
    tensorrt, log = load(), BuildLog()
    builder = tensorrt.module.Builder(make_logger(tensorrt.module, log))
    return emit_network(graph, LAYERS, tensorrt, builder, log)


def plan_size(graph: Graph, feeds: Sequence[Array] = ()) -> int:
    """Bytes of the engine that TensorRT builds of ``graph`` for exactly the shapes of ``feeds``."""
    static = all(v.shape.is_static for v in graph.inputs)
    profile = {i: InputRange.fixed(f.shape) for i, f in enumerate(feeds)}
    return len(build_plan(graph, LAYERS, () if static else (profile,)).plan)
