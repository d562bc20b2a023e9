"""TensorFlow bodies of engines that read their weights from the model's variables, for models whose weights do not fit into a graph.

A graph ends at 2 GB. The weights are in the plan, which is a file, and in the variables, which are files: an engine node then passes
the variables on to its body, as inputs that no engine sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tfgraphopt.formats.freezing import copied
from tfgraphopt.ir import UNKNOWN_SHAPE, DType, FuncRef, Graph, Module, Node, Tensor, TensorType
from tfgraphopt.runtimes import PlanAttributes

_HOST_INPUTS = "_input_hostmem"
"""An attribute that TensorFlow knows for every op: these inputs are in host memory, as handles of variables are."""


@attrs.frozen(slots=True)
class SharedBody:
    """A body with arguments for variables at its end, and the names of the model's captures that they are."""

    body: Graph
    captures: tuple[str, ...]


def share_weights(module: Module, captures: Mapping[int, str], plans: PlanAttributes) -> dict[str, SharedBody]:
    """Copies of the bodies of engines that read variables in place of constants.

    Args:
        module: an optimised endpoint; not changed.
        captures: names of captured variables by the identity of the tensors that stand for their values.
        plans: how engine nodes name their bodies.
    """
    found: dict[str, SharedBody] = {}
    for node in module.main:
        ref = node.attrs.get(plans.body) if node.op in plans.ops else None
        body = module.functions.get(ref.name) if isinstance(ref, FuncRef) else None
        if body is not None and any(_capture(n, captures) for n in body):
            found[body.name] = _shared(body, captures)
    return found


def _capture(node: Node, captures: Mapping[int, str]) -> str | None:
    return captures.get(id(node.attrs.get("value"))) if node.op == "Const" else None


def _shared(body: Graph, captures: Mapping[int, str]) -> SharedBody:
    copy = copied(body, body.name)
    arguments: dict[str, Any] = {}
    for node in copy:
        name, tensor = _capture(node, captures), node.attrs.get("value")
        if name is None or not isinstance(tensor, Tensor):
            continue
        if name not in arguments:
            arguments[name] = copy.add_input(f"weight_{len(arguments)}", TensorType(DType.RESOURCE, UNKNOWN_SHAPE))
        read = copy.add(
            "ReadVariableOp", [arguments[name]], {"dtype": tensor.dtype}, name=f"{node.name}/read", before=node,
            origin=node.origin, types=[tensor.type],
        )  # fmt: skip
        node.outputs[0].replace_uses(read.output)
        copy.erase(node)
    return SharedBody(copy, tuple(arguments))


def add_weight_inputs(
    function: Any, shared: Mapping[str, SharedBody], arguments: Mapping[str, str], plans: PlanAttributes
) -> None:
    """Let the engine nodes of a FunctionDef pass variables on to their bodies.

    Args:
        function: changed in place.
        shared: bodies that take variables, by name.
        arguments: the function's argument for every capture.
        plans: how engine nodes keep all this.
    """
    for node in function.node_def:
        body = shared.get(node.attr[plans.body].func.name) if node.op in plans.ops else None
        if body is None:
            continue
        data = [i for i in node.input if not i.startswith("^")]
        control = [i for i in node.input if i.startswith("^")]
        node.input[:] = [*data, *(arguments[name] for name in body.captures), *control]
        count = len(body.captures)
        node.attr[plans.types].list.type.extend([DType.RESOURCE.number] * count)
        node.attr[plans.body_inputs].i = count
        node.attr[_HOST_INPUTS].list.i.extend(range(len(data), len(data) + count))
