"""Graphs as they are looked at: nodes with what there is to say of them, and edges by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from tfgraphopt.graphdef import function_names, original_name
from tfgraphopt.ir import Graph, Module, Node, TensorType
from tfgraphopt.report import Report, Verdict

BEFORE, AFTER, LAYERS = "before", "after", "layers"
CONVERTED, MAIN = "converted", "main"


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
        functions: those that it runs.
        verdict: what became of it.
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
    functions: tuple[str, ...] = ()
    verdict: Verdict | None = None


@attrs.frozen(slots=True)
class View:
    """A graph to look at; ``kind`` is ``before``, ``after`` or ``layers`` (the body of one engine).

    ``function`` is the name of the function that it is the body of; none for the main graphs and for layers.
    """

    key: str
    title: str
    kind: str
    nodes: tuple[ViewNode, ...]
    function: str = ""

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
    return attrs.evolve(node, types=found, segment=verdict.segment if verdict else "", verdict=verdict)


def view_after(module: Module, report: Report) -> View:
    """The optimised graph: one node an engine, the others as they are."""
    verdicts = {n: v for n, v in report.verdicts.items() if v.graph == MAIN}
    return View(AFTER, "Optimised graph", AFTER, _after(module.main, verdicts, report))


def _after(graph: Graph, verdicts: Mapping[str, Verdict], report: Report) -> tuple[ViewNode, ...]:
    return tuple(
        attrs.evolve(n, segment=n.name if n.name in report.segments else "", verdict=verdicts.get(n.name))
        for n in snapshot(graph)
    )


def views_of_functions_after(module: Module, copies: Mapping[str, str], report: Report) -> list[View]:
    """The functions that the optimised graph runs outside of engines; for ``copies`` see :func:`views_of_functions_before`."""
    known: dict[str, dict[str, Verdict]] = {}
    for verdict in report.verdicts.values():
        known.setdefault(copies.get(verdict.graph, verdict.graph), {}).setdefault(verdict.node, verdict)
    bodies = {name: _after(body, known.get(original_name(body), {}), report) for name, body in module.functions.items()}
    main = [n for n in snapshot(module.main) if n.name not in report.segments]
    outside = {name: [n for n in nodes if not n.segment] for name, nodes in bodies.items()}
    return [View(f"{AFTER}:{n}", _titled(n, bodies[n]), AFTER, bodies[n], n) for n in _run_by(main, outside)]


def views_of_functions_before(
    main: View, functions: Mapping[str, Sequence[ViewNode]], copies: Mapping[str, str], report: Report
) -> list[View]:
    """The functions that the caller's graph runs, with the verdicts on their nodes.

    Args:
        main: the caller's graph.
        functions: as they were at the beginning.
        copies: of functions that passes have made of others, their originals; the report speaks of the copies.
    """
    verdicts: dict[tuple[str, str], Verdict] = {}
    for verdict in report.verdicts.values():
        for name in verdict.origin if verdict.graph != MAIN else ():
            verdicts.setdefault((copies.get(verdict.graph, verdict.graph), name), verdict)
    known: dict[str, tuple[ViewNode, ...]] = {}
    for name in _run_by(main.nodes, functions):
        callers = [n for nodes in (main.nodes, *known.values()) for n in nodes if name in n.functions]
        known[name] = tuple(_judged(n, verdicts.get((name, n.name)), callers) for n in functions[name])
    return [View(f"{BEFORE}:{n}", _titled(n, nodes), BEFORE, nodes, n) for n, nodes in known.items()]


def _judged(node: ViewNode, verdict: Verdict | None, callers: Sequence[ViewNode]) -> ViewNode:
    """A node of a function; where nothing was said of it alone, what was said of the nodes that run the function."""
    if verdict is not None:
        return attrs.evolve(node, segment=verdict.segment, verdict=verdict)
    theirs = [c.verdict for c in callers if c.verdict is not None]
    if not theirs:
        return node
    found = next((v for v in theirs if v.status == CONVERTED), theirs[0])
    reason = f"with {found.node}, which runs it" + (f": {found.reason}" if found.reason else "")
    return attrs.evolve(
        node, segment=found.segment, verdict=attrs.evolve(found, node=node.name, op=node.op, reason=reason)
    )


def _run_by(nodes: Iterable[ViewNode], functions: Mapping[str, Sequence[ViewNode]]) -> list[str]:
    """The functions that nodes run, over any number of steps, callers first."""
    found: dict[str, None] = {}
    waiting = [name for n in nodes for name in n.functions]
    while waiting:
        name = waiting.pop(0)
        if name in functions and name not in found:
            found[name] = None
            waiting += [called for n in functions[name] for called in n.functions]
    return list(found)


def _titled(name: str, nodes: Sequence[ViewNode]) -> str:
    return f"{name}: {len(nodes)} nodes"


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
    functions = tuple(sorted(function_names(node.attrs.values())))
    return ViewNode(node.name, node.op, types, sources, waits, "", constant, node.device, tuple(node.origin), functions)
