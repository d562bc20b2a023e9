"""Checks and reports at run time (Assert, Print) stay in TensorFlow beside the engines instead of cutting them in two.

What an engine computes has no effects, so it need not wait for a check to pass as long as everything that can be seen outside of it
does: nothing gets out before the check has passed, and each check runs exactly when it ran before.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tfgraphopt.ir import FuncRef, Graph, Node
from tfgraphopt.report import Verdict
from tfgraphopt.transforms.identity import FORWARDING

CHECKS = frozenset({"Assert", "Print", "PrintV2"})
CONVERTED = "converted"
_BRANCHES = frozenset({"Switch", "RefSwitch", "Merge", "RefMerge"})


def release(graph: Graph, verdicts: dict[Node, Verdict]) -> None:
    """Let the readers of what was to wait for a check wait for it, up to what stays in TensorFlow or is a result of ``graph``.

    ``verdicts`` tells what can be converted; an Identity that is added for a result gets one of its own. A graph with TF1
    conditionals is left alone: there a control edge also says whether a node runs at all.
    """
    if any(node.op in _BRANCHES for node in graph):
        return
    checks = _checks(graph)
    for node in checks:
        if _is_inside(node, verdicts):
            verdicts[node] = attrs.evolve(verdicts[node], status="not a candidate", reason="it only orders other nodes")
    for node in graph:
        if node.op == "Print":
            _pass_by(node, verdicts)
    for node in graph:
        waits = [c for c in node.control if c in checks]
        if waits and _is_inside(node, verdicts) and node not in graph.keep.values():
            _hand_on(graph, node, waits, verdicts)


def _checks(graph: Graph) -> set[Node]:
    """The checks, and the nodes that only gather them: no-ops, and identities of what a check returns that nothing reads."""
    found: dict[Node, None] = {}
    for node in graph:
        sources = [*node.control, *(v.producer for v in node.inputs)]
        gathers = (node.op == "NoOp" or node.op in FORWARDING) and bool(sources) and all(s in found for s in sources)
        if _is_check(node) or (gathers and not node.users and not graph.keeps(node)):
            found[node] = None
    return set(found)


def _is_check(node: Node) -> bool:
    """Whether its only effect is to check or report: an op that does, or functions that do (TensorFlow wraps Assert in an If)."""
    if node.op in CHECKS:
        return True
    bodies = [node.graph.functions(a.name) for a in node.attrs.values() if isinstance(a, FuncRef)]
    inner = [n for body in bodies if body is not None for n in body if _has_effect(n)]
    return bool(inner) and None not in bodies and all(_is_check(n) for n in inner)


def _has_effect(node: Node) -> bool:
    return node.definition is None or node.definition.stateful


def _is_inside(node: Node, verdicts: dict[Node, Verdict]) -> bool:
    return node in verdicts and verdicts[node].status == CONVERTED


def _pass_by(node: Node, verdicts: dict[Node, Verdict]) -> None:
    """Readers of the tensor that a Print hands on read the tensor itself, and wait for the Print."""
    for user, index in node.outputs[0].uses:
        if _is_inside(user, verdicts):
            user.set_input(index, node.inputs[0])
            _wait(user, [node])


def _hand_on(graph: Graph, node: Node, waits: Sequence[Node], verdicts: dict[Node, Verdict]) -> None:
    users = list(dict.fromkeys([*node.users, *node.control_users]))
    if not users and not any(v.is_output for v in node.outputs):
        return
    node.set_control(c for c in node.control if c not in waits)
    for user in users:
        _wait(user, waits)
    for value in node.outputs:
        if value.is_output:
            result = graph.add(
                "Identity", [value], {"T": value.dtype}, name=f"{node.name}/checked", control=waits, origin=node.origin,
                types=[value.type],
            )  # fmt: skip
            graph.set_outputs([result.output if v is value else v for v in graph.outputs])
            reason = "it waits for a check before it hands a result out"
            verdicts[result] = Verdict(result.name, result.op, "not a candidate", reason, graph=graph.name)


def _wait(node: Node, waits: Sequence[Node]) -> None:
    node.set_control(dict.fromkeys([*node.control, *waits]))
