"""Graphs as they are looked at: nodes with what there is to say of them, and edges by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from tfgraphopt.ir import Graph, Module, Node, TensorType
from tfgraphopt.report import Report

BEFORE, AFTER, LAYERS = "before", "after", "layers"


@attrs.frozen(slots=True)
class ViewNode:
    """One node of a view.

    Attributes:
        name, op, device: the node's.
        types: of its results, as text.
        inputs: indices of the nodes whose results it reads; ``control`` of those it only waits for.
        segment: the engine that it is in, that it is, or that the view shows.
        constant: whether it is drawn small, beside its reader.
        origin: the caller's nodes that it comes from.
        note: what the view has to say of it besides.
    """

    name: str
    op: str
    types: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()
    control: tuple[int, ...] = ()
    segment: str = ""
    constant: bool = False
    device: str = ""
    origin: tuple[str, ...] = ()
    note: str = ""


@attrs.frozen(slots=True)
class View:
    """A graph to look at; ``kind`` is ``before``, ``after`` or ``layers`` (the body of one engine)."""

    key: str
    title: str
    kind: str
    nodes: tuple[ViewNode, ...]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """All edges, data and control, as pairs of indices, each once."""
        pairs = ((source, index) for index, n in enumerate(self.nodes) for source in (*n.inputs, *n.control))
        return list(dict.fromkeys(pairs))


Types = Mapping[tuple[str, int], TensorType]


def view_before(nodes: Sequence[ViewNode], types: Types, report: Report) -> View:
    """The caller's graph, with the types that passes have found and the verdicts of the report."""
    known = [_typed(n, types, report) for n in nodes]
    return View(BEFORE, "Original graph", BEFORE, tuple(known))


def _typed(node: ViewNode, types: Types, report: Report) -> ViewNode:
    verdict = report.verdicts.get(node.name)
    found = tuple(str(types[node.name, i]) if (node.name, i) in types else t for i, t in enumerate(node.types))
    return attrs.evolve(node, types=found, segment=verdict.segment if verdict else "")


def view_after(module: Module, report: Report) -> View:
    """The optimised graph: one node an engine, the others as they are."""
    nodes = snapshot(module.main)
    named = [attrs.evolve(n, segment=n.name if n.name in report.segments else "") for n in nodes]
    return View(AFTER, "Optimised graph", AFTER, tuple(named))


def views_of_layers(module: Module, report: Report) -> list[View]:
    """The body of every engine in layers, or where there is none its body of TensorFlow ops."""
    views = []
    for name in report.segments:
        body = module.lowered.get(name) or _tf_body(module, name)
        if body is not None:
            nodes = tuple(attrs.evolve(n, segment=name) for n in snapshot(body))
            views.append(View(name, f"{name}: {len(nodes)} layers", LAYERS, nodes))
    return views


def _tf_body(module: Module, name: str) -> Graph | None:
    call = module.main.find(name)
    function = getattr(call.attrs.get("segment_func"), "name", "") if call is not None else ""
    return module.functions.get(function)


def snapshot(graph: Graph) -> list[ViewNode]:
    """The nodes of a graph as they are now, in order, formal inputs first."""
    formals = [ViewNode(v.name, "input", (str(v.type),)) for v in graph.inputs]
    nodes = list(graph)
    index = {v: i for i, v in enumerate(graph.inputs)}
    place = {n: i + len(formals) for i, n in enumerate(nodes)}
    index.update({v: place[n] for n in nodes for v in n.outputs})
    return formals + [_node(n, [index[v] for v in n.inputs], [place[c] for c in n.control]) for n in nodes]


_CONSTANTS = frozenset({"Const", "trt.constant"})


def _node(node: Node, inputs: Iterable[int], control: Iterable[int]) -> ViewNode:
    constant = node.op in _CONSTANTS and not node.control
    types = tuple(str(v.type) for v in node.outputs)
    sources, waits = tuple(dict.fromkeys(inputs)), tuple(dict.fromkeys(control))
    return ViewNode(node.name, node.op, types, sources, waits, "", constant, node.device, tuple(node.origin))
