"""The graph of a body while it is written: it reads what is outside by capturing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from tfgraphopt.ir import Graph, TensorType, Value, constant_of
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.builder import Compound, LayerBuilder
from tfgraphopt_trt.converter import Argument


@attrs.define(slots=True, eq=False)
class Scope:
    """A body: its ``states`` are its first formal inputs; ``captured`` are tensors of the surrounding graph, in the order of the others.

    Constants are copied into the body instead of being captured.
    """

    builder: LayerBuilder
    states: list[Value] = attrs.field(factory=list)
    captured: dict[Value, Value] = attrs.field(factory=dict)
    _constants: dict[Value, Value] = attrs.field(factory=dict)

    @classmethod
    def open(
        cls, b: LayerBuilder, name: str, states: Sequence[TensorType] = (), captured: Sequence[Value] = ()
    ) -> Scope:
        """A new body for a layer that ``b`` writes, which captures ``captured`` from the start."""
        scope = cls(b.within(Graph(name, b.graph.ops, b.graph.dialect)))
        scope.states += [scope.graph.add_input(f"state_{i}", t) for i, t in enumerate(states)]
        scope.share(captured)
        return scope

    @property
    def graph(self) -> Graph:
        """The body."""
        return self.builder.graph

    def share(self, captured: Sequence[Value]) -> None:
        """Capture what other bodies of the layer captured, so that all of them have the same formal inputs."""
        for value in captured:
            self._captured(value)

    def enter(self, argument: Argument) -> Argument:
        """What stands for ``argument``, a tensor of the surrounding graph or a compound of such, in the body."""
        if isinstance(argument, Value):
            return self._constant(argument) if constant_of(argument) is not None else self._captured(argument)
        kind: Any = type(argument)
        fields = {f.name: getattr(argument, f.name) for f in attrs.fields(kind)}
        inside = {k: self.enter(v) for k, v in fields.items() if isinstance(v, Value | Compound)}
        entered: Compound = attrs.evolve(argument, **inside)  # type: ignore[misc]
        return entered

    def outside(self, value: Value) -> Value | None:
        """The tensor of the surrounding graph that formal input ``value`` captures, if it does."""
        return next((outer for outer, inner in self.captured.items() if inner is value), None)

    def close(self, outputs: Sequence[Value]) -> Graph:
        """The finished body."""
        self.graph.set_outputs(outputs, [f"output_{i}" for i in range(len(outputs))])
        erase_dead(self.graph, keep_placeholders=False)
        return self.graph

    def _captured(self, value: Value) -> Value:
        if value not in self.captured:
            self.captured[value] = self.graph.add_input(value.name.replace(":", "_"), value.type)
        return self.captured[value]

    def _constant(self, value: Value) -> Value:
        if value not in self._constants:
            assert value.producer is not None
            attributes = {"value": constant_of(value)}
            added = self.graph.add("trt.constant", [], attributes, name=value.name, origin=value.producer.origin)
            self._constants[value] = added.output
        return self._constants[value]
