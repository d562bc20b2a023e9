"""Which layers lose the accuracy: the error that each makes alone, and the smallest set to keep in float32 for a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt.verification import Errors
from tfgraphopt_precision.modes import Mode
from tfgraphopt_precision.observing import as_hardware, compute
from tfgraphopt_precision.slots import CAST, slots_of
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.meaning import results_of

MOST_TRIALS = 48
"""How often a set that suffices is tried with something left out."""


def contributions(
    graph: Graph, low: Sequence[str], mode: Mode, layers: Mapping[str, LayerDef], operands: Sequence[Array],
    progress: Callable[[str, int, int], None],
) -> dict[str, float]:  # fmt: skip
    """Per layer of ``low`` the relative error of the outputs when it alone is computed in the low precision.

    Args:
        graph: the body in float32. Every tensor of one run is kept in memory.
        low: names of layers.
        operands: an array for each formal input.
    """
    alone = _Alone(graph, mode, layers, operands)
    found = {}
    for index, name in enumerate(low):
        progress("measuring layers", index, len(low))
        found[name] = alone.error(graph.node(name))
    return found


class _Alone:
    """The run of a body in float32, to be continued from any layer whose results are replaced."""

    def __init__(self, graph: Graph, mode: Mode, layers: Mapping[str, LayerDef], operands: Sequence[Array]) -> None:
        import tensorflow as tf

        self.tf, self.graph, self.mode, self.layers = tf, graph, mode, layers
        self.hardware = as_hardware(layers)
        self.nodes = list(graph)
        self.places = {node: i for i, node in enumerate(self.nodes)}
        self.tensors: dict[Value, Any] = {
            v: tf.constant(a, dtype=v.dtype.tf_name) for v, a in zip(graph.inputs, operands, strict=True)
        }
        for node in self.nodes:
            self.tensors.update(zip(node.outputs, compute(tf, node, layers, self.tensors), strict=True))
        self.expected = [self.tensors[v].numpy() for v in graph.outputs]

    def error(self, node: Node) -> float:
        changed: dict[Value, Any] = dict(zip(node.outputs, self._low(node), strict=True))
        for later in self.nodes[self.places[node] + 1 :]:
            if any(v in changed for v in later.inputs):
                inputs = {v: changed.get(v, self.tensors[v]) for v in later.inputs}
                changed.update(zip(later.outputs, compute(self.tf, later, self.layers, inputs), strict=True))
        pairs = ((v, wanted) for v, wanted in zip(self.graph.outputs, self.expected, strict=True) if v in changed)
        return max((Errors.between(changed[v].numpy(), wanted).max_rel for v, wanted in pairs), default=0.0)

    def _low(self, node: Node) -> list[Any]:
        """The results of ``node`` in low precision, seen in the types of the body."""
        tf, slots, low = self.tf, slots_of(node), self.mode.dtype.tf_name
        inputs = [
            tf.cast(self.tensors[v], low) if i in slots.inputs else self.tensors[v] for i, v in enumerate(node.inputs)
        ]
        made = results_of(tf, node, inputs, self.hardware)
        if node.op == CAST:
            made = [tf.cast(t, low) for t in made]
        return [tf.cast(t, v.dtype.tf_name) for t, v in zip(made, node.outputs, strict=True)]


def smallest(ordered: Sequence[str], suffices: Callable[[Sequence[str]], bool]) -> list[str] | None:
    """A small set that suffices: the shortest beginning of ``ordered``, then without what it can do without.

    The worst layers come first in ``ordered``. It is the minimum when more layers never hurt and the order is by importance.
    None when not even all of them suffice.
    """
    if suffices([]):
        return []
    low, high = 0, len(ordered)  # the first `low` do not suffice, the first `high` do
    if not suffices(ordered):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(ordered[:middle]) else (middle, high)
    return _without_needless(list(ordered[:high]), suffices)


def _without_needless(chosen: list[str], suffices: Callable[[Sequence[str]], bool]) -> list[str]:
    """Leave out ever smaller parts while the rest suffices (delta debugging, Zeller and Hildebrandt 2002)."""
    size, trials = len(chosen) // 2, 0
    while size and trials < MOST_TRIALS:
        for start in reversed(range(0, len(chosen), size)):
            fewer = chosen[:start] + chosen[start + size :]
            trials += 1
            if suffices(fewer):
                chosen = fewer
        size = min(size // 2, len(chosen) // 2)
    return chosen
