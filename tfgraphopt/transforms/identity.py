"""remove-identity: take out nodes that only hand their input on."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass

FORWARDING = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot", "IdentityN"})
_RESULTS_OF_CONTROL_FLOW = frozenset({"Switch", "RefSwitch", "Merge", "RefMerge"})
_TAKEN_APART = frozenset(
    {
        "If",
        "StatelessIf",
        "Case",
        "StatelessCase",
        "While",
        "StatelessWhile",
        "PartitionedCall",
        "StatefulPartitionedCall",
    }
)


@attrs.frozen(slots=True)
class RemoveIdentity(Pass):
    """Let readers of Identity, IdentityN, StopGradient, PreventGradient and Snapshot read the original tensor.

    A node that the caller fetches by name stays (its readers read past it), and so does one that holds a branch of TF1 control flow
    alive or that waits for another node: its control edges mean something. So do those behind the result of a conditional, a loop or
    a call: TensorFlow takes these apart, and a control edge straight from one does not wait for what its body checks.
    """

    name: ClassVar[str] = "remove-identity"

    def run(self, graph: Graph, ctx: Context) -> None:
        for node in graph:
            if node.op in FORWARDING and _is_plain(node):
                for result, source in zip(node.outputs, node.inputs, strict=True):
                    for user, index in result.uses:
                        user.set_input(index, source)
                if not graph.keeps(node):
                    graph.erase(node)


def _is_plain(node: Node) -> bool:
    if node.control:
        return False
    crosses = any(_device(user) != _device(node) for user in node.users)
    sources = [v.producer for v in node.inputs if v.producer is not None]
    branches = any(s.op in _RESULTS_OF_CONTROL_FLOW for s in sources)
    orders = bool(node.control_users) and (not sources or any(s.op in _TAKEN_APART for s in sources))
    return not crosses and not branches and not orders


def _device(node: Node) -> str:
    return node.device
