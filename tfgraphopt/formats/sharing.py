"""Variables read again where their values were constants while a model was optimised: in graphs, in the functions of loops and
conditionals, and, for models whose weights are large, in the TensorFlow bodies of engines.

A graph ends at 2 GB. The weights are in the plan, which is a file, and in the variables, which are files: an engine node then passes
the variables on to its body, as inputs that no engine sees. A loop passes them on as loop variables that stay the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.ir import (
    UNKNOWN_SHAPE,
    Attrs,
    AttrValue,
    DType,
    FuncRef,
    Graph,
    Module,
    Node,
    Shape,
    Tensor,
    TensorType,
    Value,
)
from tfgraphopt.ir.tensor import View
from tfgraphopt.regions import copy_node
from tfgraphopt.runtimes import PlanAttributes
from tfgraphopt.transforms.specialise_functions import BY_NUMBER, KINDS, Kind

_HOST_INPUTS = "_input_hostmem"
"""An attribute that TensorFlow knows for every op: these inputs are in host memory, as handles of variables are."""
_HANDLE = TensorType(DType.RESOURCE, UNKNOWN_SHAPE)
_STATELESS = "Stateless"


def capture_of(node: Node, captures: Mapping[int, str], *, computed: bool = True) -> str | None:
    """The capture whose value the constant ``node`` is, or is a view of; ``computed`` when a view may cost something to make again."""
    tensor = node.attrs.get("value") if node.op == "Const" else None
    if not isinstance(tensor, Tensor):
        return None
    while isinstance(tensor.source, View) and (computed or tensor.source.op == "Reshape"):
        tensor = tensor.source.base
    return captures.get(id(tensor))


@attrs.frozen(slots=True, eq=False)
class Thaw:
    """Copies parts of a module with variables where constants were.

    Attributes:
        module: an optimised endpoint; not changed.
        captures: names of the model's captures by the identity of the tensors that stand for their values.
        variables: those of them that are variables, which functions can be given.
        plans: the kinds of engine nodes whose bodies shall read variables too.
        computed: whether weights outside of engines are read again also where they were transposed or converted at once.
        functions: the functions that were made.
    """

    module: Module
    captures: Mapping[int, str]
    variables: Mapping[int, str]
    plans: Sequence[PlanAttributes] = ()
    computed: bool = False
    functions: dict[str, Graph] = attrs.field(factory=dict)

    def copy(
        self, graph: Graph, nodes: Iterable[Node], values: dict[Value, Value], handles: Mapping[str, Value]
    ) -> dict[Node, Node]:
        """Copies of nodes in ``graph``, as :func:`tfgraphopt.regions.copy_nodes` makes them.

        Args:
            nodes: in topological order.
            values: what stands for each value that they read from elsewhere; extended by their own results.
            handles: what holds each capture in ``graph``: a variable's handle, or the value itself.
        """
        return self._copy(graph, nodes, values, handles, self.captures, self.computed)

    def _copy(
        self, graph: Graph, nodes: Iterable[Node], values: dict[Value, Value], handles: Mapping[str, Value],
        captures: Mapping[int, str], computed: bool,
    ) -> dict[Node, Node]:  # fmt: skip
        clones: dict[Node, Node] = {}
        for node in nodes:
            name = capture_of(node, captures, computed=computed)
            if name is not None:
                values[node.outputs[0]] = _Again(node, graph).made(_tensor(node), handles[name])
                continue
            inputs, control = [values[v] for v in node.inputs], [clones[c] for c in node.control if c in clones]
            wanted = self._wanted(node, computed)
            clones[node] = (
                self._call(graph, node, [*inputs, *(handles[w] for w in wanted)], control, wanted, computed)
                if wanted
                else copy_node(graph, node, inputs, control)
            )
            values.update(zip(node.outputs, clones[node].outputs, strict=False))
        return clones

    # -- nodes that run functions ------------------------------------------------------------------------------------

    def _wanted(self, node: Node, computed: bool) -> tuple[str, ...]:
        """The variables that the functions of ``node`` read."""
        kind = self._kind(node)
        if kind is None:
            return ()
        computed = computed or not isinstance(kind, Kind)
        found = [c for key in _keys(kind) for name in _names(node.attrs[key]) for c in self._read_in(name, computed)]
        return tuple(dict.fromkeys(found))

    def _kind(self, node: Node) -> Kind | PlanAttributes | None:
        return KINDS.get(node.op) or next((p for p in self.plans if node.op in p.ops), None)

    def _read_in(self, function: str, computed: bool) -> Iterator[str]:
        for node in self.module.functions.get(function, ()):
            name = capture_of(node, self.variables, computed=computed)
            yield from self._wanted(node, computed) if name is None else (name,)

    def _call(
        self,
        graph: Graph,
        node: Node,
        inputs: list[Value],
        control: list[Node],
        wanted: tuple[str, ...],
        computed: bool,
    ) -> Node:
        kind = self._kind(node)
        assert kind is not None
        types = (DType.RESOURCE,) * len(wanted)
        kept = {k: v for k, v in node.attrs.items() if k not in BY_NUMBER}
        attributes = {**kept, kind.types: (*_tuple(node.attrs[kind.types]), *types)}
        loops = isinstance(kind, Kind) and kind.loops
        for key in _keys(kind):
            returned = loops and key == "body"
            attributes[key] = self._copies(node.attrs[key], wanted, computed or not isinstance(kind, Kind), returned)
        if loops and node.attrs.get("output_shapes"):
            attributes["output_shapes"] = (*_tuple(node.attrs["output_shapes"]), *(Shape(()) for _ in wanted))
        if isinstance(kind, PlanAttributes):
            first = len(node.inputs)
            attributes[kind.body_inputs] = len(wanted)
            on_host = _tuple(node.attrs.get(_HOST_INPUTS, ()))
            attributes[_HOST_INPUTS] = (*on_host, *range(first, first + len(wanted)))
        results = [v.type for v in node.outputs] + [_HANDLE] * (len(wanted) if loops else 0)
        return graph.add(
            node.op.removeprefix(_STATELESS), inputs, attributes, name=node.name, control=control, device=node.device,
            origin=node.origin, types=results,
        )  # fmt: skip

    def _copies(self, value: AttrValue, wanted: tuple[str, ...], computed: bool, returned: bool) -> AttrValue:
        if isinstance(value, tuple):
            return tuple(self._copies(v, wanted, computed, returned) for v in value)
        assert isinstance(value, FuncRef)
        return attrs.evolve(value, name=self._function(value.name, wanted, computed, returned))

    def _function(self, name: str, wanted: tuple[str, ...], computed: bool, returned: bool) -> str:
        """A copy of a function that takes the handles of variables last, and returns them if it is the body of a loop."""
        body = self.module.functions[name]
        copy = Graph(self._free_name(f"{name}_with_variables"), body.ops, body.dialect)
        copy.source = (body.source[0] if isinstance(body.source, tuple) else None, -1)
        copy.attrs, copy.functions = {k: v for k, v in body.attrs.items() if k not in BY_NUMBER}, body.functions
        self.functions[copy.name] = copy
        values = {v: copy.add_input(v.name_hint, v.type) for v in body.inputs}
        handles = {w: copy.add_input(f"variable_{i}", _HANDLE) for i, w in enumerate(wanted)}
        clones = self._copy(copy, body, values, handles, self.variables, computed)
        results = list(handles.values()) if returned else []
        names = [f"variable_{i}_out" for i in range(len(results))]
        copy.set_outputs([*(values[v] for v in body.outputs), *results], [*body.output_names, *names])
        copy.set_keep({key: clones[node] for key, node in body.keep.items() if node in clones})
        return copy.name

    def _free_name(self, name: str) -> str:
        taken, number, free = {*self.module.functions, *self.module.opaque_functions, *self.functions}, 0, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return free


def _keys(kind: Kind | PlanAttributes) -> tuple[str, ...]:
    return kind.functions if isinstance(kind, Kind) else (kind.body,)


def _names(value: AttrValue) -> list[str]:
    return [v.name for v in _tuple(value) if isinstance(v, FuncRef)]


def _tuple(value: AttrValue) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _tensor(node: Node) -> Tensor:
    tensor = node.attrs["value"]
    assert isinstance(tensor, Tensor)
    return tensor


@attrs.frozen(slots=True)
class _Again:
    """Makes the value of the constant ``node`` again in ``graph``, of what it was read from or is a view of."""

    node: Node
    graph: Graph

    def made(self, tensor: Tensor, argument: Value) -> Value:
        view = tensor.source
        if isinstance(view, View):
            return self._viewed(tensor, view, self.made(view.base, argument))
        if argument.dtype is not DType.RESOURCE:
            return argument
        return self._add("ReadVariableOp", [argument], {"dtype": tensor.dtype}, tensor.type)

    def _viewed(self, tensor: Tensor, view: View, base: Value) -> Value:
        if isinstance(view.operand, DType):
            return self._add(view.op, [base], {"SrcT": base.dtype, "DstT": view.operand}, tensor.type)
        operand = Tensor.of(np.asarray(view.operand, np.int32))
        const = self._add("Const", [], {"value": operand, "dtype": operand.dtype}, operand.type)
        return self._add(view.op, [base, const], {"T": base.dtype}, tensor.type)

    def _add(self, op: str, inputs: list[Value], attributes: Attrs, type_: TensorType) -> Value:
        name = f"{self.node.name}/{op}"
        return self.graph.add(op, inputs, attributes, name=name, origin=self.node.origin, types=[type_]).output
