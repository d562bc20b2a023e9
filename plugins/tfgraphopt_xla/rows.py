"""Whether each row of a segment's results depends on the same row of its inputs only: a forward data-flow analysis.

Padding a batch with rows that nobody asked for is right only then. Every value has one of three states: it does not depend on the batch
(:data:`FIXED`), it is made of rows (:class:`Rows`), or it is whole numbers computed from shapes (:data:`SIZES`), which may hold the number
of rows and so may only say how large something becomes. A rule for each layer says what its results are; where no rule can prove
one of the three, :class:`Unproven` says why and the segment is compiled for every batch size on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.ir.core import CONSTANT_OPS


class Unproven(Exception):
    """Rows may depend on one another, or on how many there are; the text says where."""


@attrs.frozen(slots=True)
class Rows:
    """The elements with indices ``each * r`` to ``each * (r + 1) - 1`` along ``axis`` depend on row ``r`` of the inputs only."""

    axis: int
    each: int = 1


@attrs.frozen(slots=True)
class Other:
    """A state without an axis."""

    name: str


FIXED = Other("fixed")
SIZES = Other("sizes")
State = Rows | Other
Follow = Callable[[Node, Sequence[State]], Sequence[State]]


@attrs.frozen(slots=True)
class RowRule:
    """How rows pass through the layers ``ops``.

    ``follow(node, states)`` gives the states of the results of ``node`` for those of its operands, of which at least one is not
    :data:`FIXED`; it raises :class:`Unproven` when it cannot. Law: whatever it gives holds for every number of rows.
    """

    ops: tuple[str, ...]
    follow: Follow
    overrides: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What two plugins must not both claim."""
        return self.ops


def refine_types(graph: Graph) -> None:
    """What the layers' own rules say of shapes now: folding may have made numbers known that were not when the graph was written."""
    for node in graph:
        infer = None if node.definition is None else node.definition.infer
        if infer is not None:
            for value, found in zip(node.outputs, infer(node.inputs, node.attrs), strict=True):
                value.set_type(value.type.with_shape(value.shape.merge(found.shape)))


def follow_rows(graph: Graph, inputs: Sequence[State], rules: Mapping[str, RowRule]) -> dict[Value, State]:
    """The state of every value of ``graph``, whose formal inputs have the states ``inputs``.

    Raises:
        Unproven: a layer mixes rows, or no rule knows it; the message names the caller's nodes.
    """
    states: dict[Value, State] = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph:
        found = follow_node(node, [states[v] for v in node.inputs], rules)
        states.update(zip(node.outputs, found, strict=True))
    return states


def follow_node(node: Node, operands: Sequence[State], rules: Mapping[str, RowRule]) -> Sequence[State]:
    """The states of the results of ``node`` for those of its operands; Unproven as for :func:`follow_rows`."""
    if node.op in CONSTANT_OPS or all(s == FIXED for s in operands):
        return [FIXED] * len(node.outputs)
    if node.op not in rules:
        raise Unproven(f"no rule says how rows pass through {node.op} ({_where(node)})")
    try:
        return rules[node.op].follow(node, operands)
    except Unproven as error:
        raise Unproven(f"{node.op} ({_where(node)}): {error}") from error


def _where(node: Node) -> str:
    return ", ".join(node.origin or (node.name,))
