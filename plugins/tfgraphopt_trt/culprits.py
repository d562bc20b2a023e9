"""Which layer makes a build fail, where TensorRT does not say: found by building ever shorter beginnings of the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.regions import copy_node
from tfgraphopt_trt.build_options import BuildOptions, NoBuilder
from tfgraphopt_trt.builder_process import BuilderDied

PROBE_SHARE = 8
"""A probe may take this part of the time that a build may take, so that looking for a hang costs about one build more."""
_LEAST_SECONDS = 5.0

Probe = Callable[[Graph, BuildOptions], object]
"""Builds a graph with the same inputs as the body that fails; raises EngineBuildFailed."""


@attrs.frozen(slots=True)
class Search:
    """How the search for a culprit ended.

    Attributes:
        builds: how many probes it took.
        where: the user's own nodes of the layer without which the body's beginning builds and with which it does not; empty when
            there is no such layer.
        passes: the whole body builds now, so what failed was not the body.
    """

    builds: int
    where: tuple[str, ...] = ()
    passes: bool = False


def locate(graph: Graph, options: BuildOptions, error: EngineBuildFailed, probe: Probe) -> Search:
    """Look for the layer of ``graph`` that makes its build fail as ``error`` says.

    A beginning is the first layers in topological order, with the inputs of the whole body. The search is binary, so it takes the
    logarithm of the number of layers; it finds the first culprit when there are several.

    Args:
        graph: the lowered body whose build failed.
        options: those of the failed build; a probe has the same memory and an eighth of the time (five seconds at least).
    """
    if isinstance(error, NoBuilder):
        return Search(0)
    places = [i for i, node in enumerate(graph) if node.op != "trt.constant"]
    limits = _limits(options, error)
    builds = 0

    def fails(count: int) -> bool:
        nonlocal builds
        builds += 1
        try:
            probe(beginning(graph, places[count - 1] + 1), limits)
        except EngineBuildFailed as found:
            return _same(found, error)
        return False

    low, high = 0, len(places)  # the first `low` layers build, the first `high` do not
    if not places:
        return Search(0)
    if isinstance(error, BuilderDied) and not fails(high):
        return Search(builds, passes=True)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    node = list(graph)[places[high - 1]]
    return Search(builds, node.origin or (node.name,))


def _limits(options: BuildOptions, error: EngineBuildFailed) -> BuildOptions:
    if options.timeout_seconds is None or not isinstance(error, BuilderDied):
        return options
    return attrs.evolve(options, timeout_seconds=max(_LEAST_SECONDS, options.timeout_seconds / PROBE_SHARE))


def _same(found: EngineBuildFailed, error: EngineBuildFailed) -> bool:
    """Whether a probe fails in the way in which the whole body did."""
    ways = [e.reason if isinstance(e, BuilderDied) else "refused" for e in (found, error)]
    return ways[0] == ways[1]


def beginning(graph: Graph, count: int) -> Graph:
    """The first ``count`` nodes of ``graph`` with all its inputs; outputs are what of it nothing in it reads."""
    part = Graph(graph.name, graph.ops, graph.dialect)
    values: dict[Value, Value] = {v: part.add_input(v.name, v.type) for v in graph.inputs}
    for node in _first(graph, count):
        made = copy_node(part, node, [values[v] for v in node.inputs])
        values.update(zip(node.outputs, made.outputs, strict=True))
    ends = [v for node in part for v in node.outputs if not v.uses and node.op != "trt.constant"]
    part.set_outputs(ends)
    return part


def _first(graph: Graph, count: int) -> Sequence[Node]:
    return [node for node, _ in zip(graph, range(count), strict=False)]
