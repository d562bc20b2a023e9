"""Cutting a region of a graph out into a function, and putting a function's body back in place of its call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from tfgraphopt.errors import MutationError
from tfgraphopt.ir import Attrs, Graph, Node, Value


class CallAttrs(Protocol):
    """Makes the attributes of the call node from the region's inputs and outputs."""

    def __call__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Attrs:
        """The attributes of a call that reads ``inputs`` and yields ``outputs``."""


@attrs.frozen(slots=True)
class Outlined:
    """A region that became a function: its body, the call node, where each original node went, and what each result was before."""

    body: Graph
    call: Node
    clones: Mapping[Node, Node]
    results: Mapping[Value, Value]


def outline(
    graph: Graph,
    members: Iterable[Node],
    *,
    op: str,
    name: str,
    body_name: str,
    call_attrs: CallAttrs,
    device: str = "",
) -> Outlined:
    """Replace ``members`` by one node ``name`` of op ``op`` that calls a new function ``body_name``.

    Constants that the region reads are copied into the body and stay outside for other readers. Control edges from and to members
    become control edges of the call, which is placed on ``device`` unless the members agree on one.

    Raises:
        MutationError: something outside lies on a path from one member to another, so the call would wait for itself.
    """
    region = set(members)
    order = [n for n in graph if n in region]
    _push_dependents_behind(graph, order, region)
    outside = [v for n in order for v in n.inputs if _feeds_from_outside(v, region)]
    inputs = list(dict.fromkeys(outside))
    outputs = [v for n in order for v in n.outputs if v.is_output or any(u not in region for u in v.users)]
    body, clones, values = _clone(graph, order, inputs, body_name)
    body.set_outputs([values[v] for v in outputs], [f"output_{i}" for i in range(len(outputs))])
    call = graph.add(
        op, inputs, call_attrs(inputs, outputs), name=name, before=graph.successor(order[-1]),
        control=_outer_control(order, region), device=_common_device(order) or device,
        origin=tuple(dict.fromkeys(o for n in order for o in n.origin)), types=[v.type for v in outputs],
    )  # fmt: skip
    for old, new in zip(outputs, call.outputs, strict=True):
        _redirect(old, new, region)
    for node in order:
        for user in node.control_users:
            if user not in region:
                user.set_control(call if c is node else c for c in user.control)
    for node in reversed(order):
        graph.erase(node)
    return Outlined(body, call, clones, dict(zip(call.outputs, outputs, strict=True)))


def _feeds_from_outside(value: Value, region: set[Node]) -> bool:
    producer = value.producer
    return producer is None or (producer not in region and not _is_constant(producer))


def _is_constant(node: Node) -> bool:
    return node.op == "Const" and not node.control


def _push_dependents_behind(graph: Graph, order: Sequence[Node], region: set[Node]) -> None:
    """Move what depends on the region behind its last member, so that a call can stand there."""
    last = order[-1]
    dependents: dict[Node, None] = {}
    started = False
    for node in graph:
        started = started or node is order[0]
        if not started:
            continue
        sources = [v.producer for v in node.inputs if v.producer is not None] + list(node.control)
        if node in region:
            cyclic = [s.name for s in sources if s in dependents]
            if cyclic:
                raise MutationError(
                    "the region cannot become one node", where=(node.name, *cyclic), why="it would wait for itself"
                )
        elif any(s in region or s in dependents for s in sources):
            dependents[node] = None
        if node is last:
            break
    behind = graph.successor(last)
    for node in reversed(dependents):
        graph.move(node, behind)
        behind = node


def _clone(
    graph: Graph, order: Sequence[Node], inputs: Sequence[Value], body_name: str
) -> tuple[Graph, dict[Node, Node], dict[Value, Value]]:
    body = Graph(body_name, graph.ops, graph.dialect)
    values = {v: body.add_input(f"input_{i}", v.type) for i, v in enumerate(inputs)}
    clones: dict[Node, Node] = {}
    for node in order:
        for value in node.inputs:
            if value not in values:
                assert value.producer is not None
                _copy_into(body, value.producer, values, clones)
        _copy_into(body, node, values, clones)
    return body, clones, values


def _copy_into(body: Graph, node: Node, values: dict[Value, Value], clones: dict[Node, Node]) -> None:
    clone = copy_node(body, node, [values[v] for v in node.inputs], [clones[c] for c in node.control if c in clones])
    clones[node] = clone
    values.update(zip(node.outputs, clone.outputs, strict=True))


def copy_graph(graph: Graph) -> Graph:
    """A graph like ``graph`` that calls the same functions; changing one leaves the other alone."""
    copy = Graph(graph.name, graph.ops, graph.dialect)
    copy.functions = graph.functions
    values = {v: copy.add_input(v.name, v.type) for v in graph.inputs}
    clones: dict[Node, Node] = {}
    for node in graph:
        _copy_into(copy, node, values, clones)
    copy.set_outputs([values[v] for v in graph.outputs], graph.output_names)
    copy.set_keep({name: clones[node] for name, node in graph.keep.items()})
    return copy


def copy_node(
    graph: Graph, node: Node, inputs: Sequence[Value], control: Sequence[Node] = (), before: Node | None = None,
    name: str | None = None,
) -> Node:  # fmt: skip
    """A node of ``graph`` like ``node`` (which may be of another graph) that reads ``inputs``."""
    return graph.add(
        node.op, inputs, node.attrs, name=name or node.name, control=control, before=before, device=node.device,
        origin=node.origin, types=[v.type for v in node.outputs],
    )  # fmt: skip


def copy_nodes(graph: Graph, nodes: Iterable[Node], values: dict[Value, Value]) -> dict[Node, Node]:
    """Copies in ``graph`` of nodes of another one, by these; what they do not wait for in ``nodes`` they do not wait for.

    Args:
        nodes: in topological order.
        values: what stands for each value that they read from elsewhere; extended by their own results.
    """
    clones: dict[Node, Node] = {}
    for node in nodes:
        control = [clones[c] for c in node.control if c in clones]
        clones[node] = copy_node(graph, node, [values[v] for v in node.inputs], control)
        values.update(zip(node.outputs, clones[node].outputs, strict=True))
    return clones


def _outer_control(order: Sequence[Node], region: set[Node]) -> list[Node]:
    return list(dict.fromkeys(c for n in order for c in n.control if c not in region))


def _common_device(order: Sequence[Node]) -> str:
    devices = {n.device for n in order if n.device}
    return devices.pop() if len(devices) == 1 else ""


def _redirect(old: Value, new: Value, region: set[Node]) -> None:
    for user, index in old.uses:
        if user not in region:
            user.set_input(index, new)
    if old.is_output:
        graph = old.graph
        graph.set_outputs([new if v is old else v for v in graph.outputs])


def inline(graph: Graph, call: Node, body: Graph, prefix: str | None = None) -> None:
    """Replace ``call`` by a copy of ``body``; what waited for the call waits for every copied node that nothing reads.

    Copies are named ``prefix`` + the body's names; by default the prefix is the call's name and a slash.

    Raises:
        MutationError: the call and the body disagree on the number of inputs or outputs.
    """
    if len(call.inputs) != len(body.inputs) or len(call.outputs) != len(body.outputs):
        raise MutationError(f"{call.name!r} does not fit function {body.name!r}", where=(call.name,))
    prefix = f"{call.name}/" if prefix is None else prefix
    values = dict(zip(body.inputs, call.inputs, strict=True))
    clones: dict[Node, Node] = {}
    for node in body:
        control = [clones[c] for c in node.control] or list(call.control if not node.inputs else ())
        clone = copy_node(graph, node, [values[v] for v in node.inputs], control, before=call, name=prefix + node.name)
        clones[node] = clone
        values.update(zip(node.outputs, clone.outputs, strict=True))
    ends = [clones[n] for n in body if not n.users or body.keeps(n)] or list(call.control)
    for user in call.control_users:
        user.set_control([*(c for c in user.control if c is not call), *ends])
    for old, inner in zip(call.outputs, body.outputs, strict=True):
        old.replace_uses(values[inner])
    _hand_over_keep(graph, call, ends)
    graph.erase(call)


def _hand_over_keep(graph: Graph, call: Node, ends: Sequence[Node]) -> None:
    """What had to be run by the call's name is now a no-op that waits for everything that the call ran."""
    kept = [name for name, node in graph.keep.items() if node is call]
    if kept:
        waiting = graph.add("NoOp", name=f"{call.name}/done", control=ends, before=call, origin=call.origin)
        graph.set_keep({name: waiting if name in kept else node for name, node in graph.keep.items()})
