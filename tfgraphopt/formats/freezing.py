"""Variables as constants, in the IR: values are read lazily and nothing is copied; what no engine took is read from the variable again.

A variable may become a constant when everything that reaches it only reads it, also inside the functions that it is passed to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from tfgraphopt.ir import AttrValue, DType, FuncRef, Graph, Module, Node, Tensor, TensorType, Value
from tfgraphopt.regions import copy_nodes

_READS = frozenset({"ReadVariableOp", "ResourceGather"})
_HARMLESS = _READS | {"VariableShape", "DisableCopyOnRead", "VarIsInitializedOp", "NoOp"}
_FUNCTIONS = {
    "PartitionedCall": ("f",), "StatefulPartitionedCall": ("f",), "While": ("cond", "body"), "StatelessWhile": ("cond", "body"),
    "If": ("then_branch", "else_branch"), "StatelessIf": ("then_branch", "else_branch"), "Case": ("branches",),
    "StatelessCase": ("branches",),
}  # fmt: skip
_SELECTOR = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
"""Ops whose first input chooses the function and is not passed on."""


def only_read(value: Value, seen: frozenset[str] = frozenset()) -> bool:
    """Whether nothing that gets the resource ``value`` does anything but read it."""
    return all(_only_reads(user, index, seen) for user, index in value.uses)


def _only_reads(user: Node, index: int, seen: frozenset[str]) -> bool:
    if user.op in ("Identity", "IdentityN"):
        return only_read(user.outputs[index], seen)
    if user.op not in _FUNCTIONS:
        return user.op in _HARMLESS
    bodies = list(_bodies(user))
    formal = index - (user.op in _SELECTOR)
    inner = seen | {b.name for b in bodies}
    return bool(bodies) and all(b.name in seen or only_read(b.inputs[formal], inner) for b in bodies)


def _bodies(node: Node) -> Iterator[Graph]:
    for ref in _references(node):
        body = node.graph.functions(ref.name)
        if body is not None:
            yield body


def _references(node: Node) -> list[FuncRef]:
    values = [node.attrs.get(name) for name in _FUNCTIONS[node.op]]
    flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
    return [v for v in flat if isinstance(v, FuncRef)]


def freeze(module: Module, values: Mapping[str, Tensor]) -> dict[str, str]:
    """Let every read of a variable be a constant that has its name.

    Args:
        module: changed in place.
        values: the value of each variable, or the constant, by the name of the placeholder in the main graph that stands for it.

    Returns:
        the functions that were made, because a variable is read in them, by the functions that they are copies of.
    """
    made: dict[str, str] = {}
    known = {}
    for name, tensor in values.items():
        node = module.main.find(name)
        if node is not None:
            known[node.outputs[0]] = tensor
    _freeze_in(module, known, made)
    return made


def _freeze_in(module: Module, known: Mapping[Value, Tensor], made: dict[str, str]) -> None:
    passed: dict[Node, dict[int, Tensor]] = {}
    for value, tensor in known.items():
        if value.dtype is not DType.RESOURCE:
            _replace(value, tensor)
            continue
        for user, index in value.uses:
            if user.op in _READS:
                _freeze_read(user, tensor)
            elif user.op in _FUNCTIONS:
                passed.setdefault(user, {})[index - (user.op in _SELECTOR)] = tensor
    for node, tensors in passed.items():
        for name in _FUNCTIONS[node.op]:
            node.set_attr(name, _specialised(node.attrs[name], tensors, module, made))


def _replace(value: Value, tensor: Tensor) -> None:
    """A constant that is handed in."""
    assert value.producer is not None
    graph, node = value.graph, value.producer
    const = graph.add(
        "Const", [], {"value": tensor, "dtype": tensor.dtype}, name=f"{node.name}/value", before=graph.successor(node),
        origin=node.origin, types=[tensor.type],
    )  # fmt: skip
    value.replace_uses(const.output)


def _freeze_read(node: Node, tensor: Tensor) -> None:
    graph, name = node.graph, node.name
    value: AttrValue = tensor
    is_read = node.op == "ReadVariableOp"
    const = graph.add(
        "Const", [], {"value": value, "dtype": tensor.dtype}, name=f"{name}/value", before=node, control=(),
        origin=node.origin, types=[TensorType(tensor.dtype, tensor.shape)],
    )  # fmt: skip
    new = const if is_read else _gather(node, const)
    node.outputs[0].replace_uses(new.output)
    graph.set_keep({k: n for k, n in graph.keep.items() if n is not node})
    for user in node.control_users:  # it may wait for what the read waited for, but not for the variable
        user.set_control(dict.fromkeys([*(c for c in user.control if c is not node), *node.control]))
    graph.erase(node)


def _gather(node: Node, table: Node) -> Node:
    graph = node.graph
    axis = Tensor.of(int(node.attrs["batch_dims"]), DType.INT32)  # type: ignore[arg-type]
    along = graph.add(
        "Const", [], {"value": axis, "dtype": DType.INT32}, name=f"{node.name}/axis", before=node, types=[axis.type]
    )
    inputs = [table.output, node.inputs[1], along.output]
    return graph.add(
        "GatherV2", inputs, {"batch_dims": node.attrs["batch_dims"]}, name=f"{node.name}/gather", before=node,
        control=node.control, device=node.device, origin=node.origin, types=[node.outputs[0].type],
    )  # fmt: skip


def _specialised(given: AttrValue, tensors: Mapping[int, Tensor], module: Module, made: dict[str, str]) -> AttrValue:
    if isinstance(given, tuple):
        return tuple(_specialised(g, tensors, module, made) for g in given)
    if not isinstance(given, FuncRef) or given.name not in module.functions:
        return given
    body = module.functions[given.name]
    copy = copied(body, _free_name(f"{body.name}_frozen", module))
    module.add_function(copy)
    made[copy.name] = body.name
    _freeze_in(module, {copy.inputs[index]: tensor for index, tensor in tensors.items()}, made)
    return attrs.evolve(given, name=copy.name)


def _free_name(name: str, module: Module) -> str:
    number = 0
    while f"{name}_{number}" in module.functions:
        number += 1
    return f"{name}_{number}"


def copied(body: Graph, name: str) -> Graph:
    """A copy of a function under another name."""
    copy = Graph(name, body.ops, body.dialect)
    source = body.source[0] if isinstance(body.source, tuple) else None
    copy.source, copy.attrs, copy.functions = (source, -1), dict(body.attrs), body.functions
    values = {v: copy.add_input(v.name_hint, v.type) for v in body.inputs}
    clones = copy_nodes(copy, body, values)
    copy.set_outputs([values[v] for v in body.outputs], body.output_names)
    copy.set_keep({key: clones[node] for key, node in body.keep.items()})
    return copy


# -- what has to be run --------------------------------------------------------------------------------------------------


def keep_effects_only(graph: Graph) -> None:
    """Keep, of what a function's callers wait for, the nodes that have an effect; results are read anyway.

    No-ops that gather what is to be waited for go where they gather nothing that has an effect.
    """
    graph.set_keep({n.name: n for n in graph if has_effect(n)})
    for node in graph:
        if node.op == "NoOp" and not node.control:
            for user in node.control_users:
                user.set_control([c for c in user.control if c is not node])


def has_effect(node: Node, seen: frozenset[str] = frozenset()) -> bool:
    """Whether running ``node`` changes anything but its results."""
    if node.definition is None or not node.definition.stateful or node.op in _QUIET:
        return False
    bodies = list(_bodies(node)) if node.op in _FUNCTIONS else []
    if not bodies:
        return True
    inner = seen | {b.name for b in bodies}
    return any(has_effect(n, inner) for b in bodies if b.name not in seen for n in b)


_QUIET = _HARMLESS | {
    "VarHandleOp", "HashTableV2", "Placeholder", "RandomUniform", "RandomStandardNormal", "RandomUniformInt", "TruncatedNormal",
    "Multinomial", "RandomShuffle", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3",
}  # fmt: skip
"""Ops that TensorFlow calls stateful, but that nobody misses whose results nobody reads."""
