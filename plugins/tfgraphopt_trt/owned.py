"""Functions that one node alone runs: the bodies of loops and branches that stay in TensorFlow, in which engines find a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

from tfgraphopt.ir import FuncRef, Graph, Module, Node, TensorType, Value
from tfgraphopt.transforms.infer_types import refresh_types

_LOOPS = frozenset({"While", "StatelessWhile"})
_RUN: Mapping[str, tuple[tuple[str, ...], int]] = {
    **dict.fromkeys(_LOOPS, (("body",), 0)),
    **dict.fromkeys(("If", "StatelessIf"), (("then_branch", "else_branch"), 1)),
    **dict.fromkeys(("Case", "StatelessCase"), (("branches",), 1)),
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), (("f",), 0)),
}
"""Per op the attributes that name what it runs, and how many of its operands are not handed on."""


@attrs.frozen(slots=True, eq=False)
class Owned:
    """A function that nothing but ``node`` runs."""

    node: Node
    function: Graph

    @property
    def operands(self) -> tuple[Value, ...]:
        """What the function is run with at first."""
        return self.node.inputs[_RUN[self.node.op][1] :]

    def learn_types(self) -> None:
        """Let the function know what its node says of its arguments, and infer the types in it."""
        for index, formal in enumerate(self.function.inputs):
            known = self._known(index)
            if known.dtype is formal.dtype and known.shape.compatible(formal.shape):
                formal.set_type(formal.type.with_shape(formal.shape.merge(known.shape)))
        refresh_types(self.function)

    def _known(self, index: int) -> TensorType:
        """The type of an argument in every run: a loop may change the shapes of its variables."""
        changes = self.node.op in _LOOPS and self.function.outputs[index] is not self.function.inputs[index]
        return self.node.outputs[index].type if changes else self.operands[index].type


def owned_functions(graph: Graph, module: Module) -> Iterator[Owned]:
    """The functions that nodes of ``graph`` run and nothing else does."""
    counts = Counter(name for g in module.graphs("tf") for n in g for v in n.attrs.values() for name in _names(v))
    for node in graph:
        for attribute in _RUN.get(node.op, ((), 0))[0]:
            for name in _names(node.attrs.get(attribute)):
                function = module.functions.get(name)
                if function is not None and counts[name] == 1:
                    yield Owned(node, function)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _names(item)
    elif isinstance(value, FuncRef):
        yield value.name
