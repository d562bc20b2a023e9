"""A whole model whose segments run by their lowered bodies' meaning, and everything else in TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef, export_graph_def
from tfgraphopt.ir import Graph, Module, Node, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt.optimization import Result
from tfgraphopt.regions import inline
from tfgraphopt.sessions import State, open_session
from tfgraphopt.verification import VerifyRequest
from tfgraphopt_precision.observing import as_hardware
from tfgraphopt_trt.engine_nodes import body_of
from tfgraphopt_trt.engine_ops import OPS
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.meaning import evaluate


@attrs.frozen(slots=True, eq=False)
class SegmentPlace:
    """Where a segment sits in the model: the tensors that it reads and makes, and its lowered body in float32."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: Graph
    result_names: tuple[str, ...]


def take_apart(result: Result) -> tuple[GraphDef, tuple[SegmentPlace, ...]]:
    """The model in plain TensorFlow, in which every result of a segment is an Identity that can be fed; and the segments.

    ``result`` is used up: its module is changed.
    """
    module = result.module
    calls = [n for n in module.main if n.op in OPS and n.name in module.lowered]
    names = {call: tuple(v.name for v in module.functions[body_of(call)].outputs) for call in calls}
    probes = {call: _probe(call) for call in calls}
    places = tuple(
        SegmentPlace(c.name, tuple(_tensor(v) for v in c.inputs), probes[c], module.lowered[c.name], names[c])
        for c in calls
    )
    for call in calls:
        inline(module.main, call, module.functions.pop(body_of(call)), prefix="")
    return _exported(module), places


def _probe(call: Node) -> tuple[str, ...]:
    """Put an Identity behind every result of ``call``; their names."""
    graph, place = call.graph, call.graph.successor(call)
    made = []
    for index, value in enumerate(call.outputs):
        name = f"{call.name}/result_{index}"
        probe = graph.add("Identity", [value], name=name, before=place, types=[value.type], origin=call.origin)
        value.replace_uses(probe.output)
        made.append(_tensor(probe.output))
    return tuple(made)


def _tensor(value: Value) -> str:
    if value.producer is None:
        return f"{value.name}:0"
    return f"{value.producer.name}:{value.index}"


def _exported(module: Module) -> GraphDef:
    module.lowered.clear()
    return export_graph_def(module)


class Model:
    """Runs a model on one set of inputs, its segments by given bodies.

    Args:
        graph_def, places: from :func:`take_apart`.
        outputs: what to fetch.
        feeds: an array for every input, by name.
        layers: layer definitions by op.
        state: what the graph needs of its model.
    """

    def __init__(
        self, graph_def: GraphDef, places: Sequence[SegmentPlace], outputs: Sequence[str], feeds: Mapping[str, Array],
        layers: Mapping[str, LayerDef], state: State | None = None,
    ) -> None:  # fmt: skip
        self.places = tuple(places)
        self.layers = layers
        self._hardware = as_hardware(layers)
        self._fetches = [_fetch(o) for o in outputs]
        self._feeds = {_fetch(name): array for name, array in feeds.items()}
        self._session = open_session(graph_def, state)
        wanted = [t for p in self.places for t in (*p.inputs, *p.outputs)]
        self._known = dict(zip(wanted, self._run(wanted, {}), strict=True))

    def operands(self, place: SegmentPlace) -> list[Array]:
        """What the segment reads when everything is computed by TensorFlow."""
        return [self._known[t] for t in place.inputs]

    def expected(self, place: SegmentPlace) -> list[Array]:
        """What the segment makes when everything is computed by TensorFlow."""
        return [self._known[t] for t in place.outputs]

    def made(self, body: Graph, operands: Sequence[Array]) -> list[Array]:
        """What a body makes of ``operands``, as hardware computes it."""
        return evaluate(body, self._hardware, operands)

    def outputs(self, bodies: Mapping[str, Graph]) -> list[Array]:
        """The model's outputs when each segment is computed by its body in ``bodies``."""
        overrides: dict[str, Array] = {}
        for place in self.places:
            operands = self._run(place.inputs, overrides) if overrides else self.operands(place)
            overrides.update(zip(place.outputs, self.made(bodies[place.name], operands), strict=True))
        return self._run(self._fetches, overrides)

    def _run(self, fetches: Sequence[str], overrides: Mapping[str, Array]) -> list[Array]:
        return run(self._session, fetches, {**self._feeds, **overrides})


def original_results(request: VerifyRequest) -> list[Array]:
    """What TensorFlow computes of the request's graph on its data."""
    feeds = {_fetch(name): array for name, array in request.feeds.items()}
    with open_session(request.graph_def, request.state) as session:
        return run(session, [_fetch(o) for o in request.outputs], feeds)


def run(session: Any, fetches: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """Fetch tensors; ConfigError when the feeds do not fit the model."""
    import tensorflow as tf

    try:
        return list(session.run(list(fetches), dict(feeds))) if fetches else []
    except (ValueError, TypeError, KeyError, tf.errors.InvalidArgumentError) as error:
        shapes = ", ".join(f"{k} {v.dtype}{v.shape}" for k, v in feeds.items() if "/result_" not in k)
        raise ConfigError(f"the model does not take this data: {shapes}", why=str(error).splitlines()[0]) from error


def _fetch(name: str) -> str:
    return name if ":" in name else f"{name}:0"
