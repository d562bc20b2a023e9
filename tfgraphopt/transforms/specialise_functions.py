"""specialise-functions: give loops and conditionals functions of their own that know their constants and take only what they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import attrs

from tfgraphopt.ir import AttrValue, FuncRef, Graph, Module, Node, Tensor, Value, constant_of
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import copy_node
from tfgraphopt.transforms.inline_functions import reachable


@attrs.frozen(slots=True)
class Kind:
    """How an op runs functions: the attributes that name them, the first operand that they take, and the attribute of its types."""

    functions: tuple[str, ...]
    first: int
    types: str
    loops: bool = False


KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("While", "StatelessWhile"), Kind(("cond", "body"), 0, "T", loops=True)),
    **dict.fromkeys(("If", "StatelessIf"), Kind(("then_branch", "else_branch"), 1, "Tin")),
    **dict.fromkeys(("Case", "StatelessCase"), Kind(("branches",), 1, "Tin")),
}
BY_NUMBER = frozenset({"_read_only_resource_inputs", "_num_original_outputs", "_input_shapes", "_output_shapes"})
"""What TensorFlow notes of arguments and results by number, at nodes and functions; it can do without."""


@attrs.frozen(slots=True)
class SpecialiseFunctions(Pass):
    """Copy constants into the functions of While, If and Case that read them, and drop operands that no function reads.

    A loop drops a variable when its functions only hand it on. Weights become known where they are used, and variables whose values
    have become constants are not passed through loops any more.
    """

    name: ClassVar[str] = "specialise-functions"
    after: ClassVar[tuple[str, ...]] = ("inline-functions",)
    before: ClassVar[tuple[str, ...]] = ("infer-types",)
    dialect: ClassVar[str | None] = None

    def run(self, graph: Graph, ctx: Context) -> None:
        module = ctx.module
        used = reachable(module, [graph])
        done: set[str] = set()
        waiting = [graph]
        while waiting:
            for node in waiting.pop():
                kind = KINDS.get(node.op)
                if kind is not None:
                    _specialise(node, kind, module)
            new = reachable(module, [graph]) - done
            done |= new
            waiting += [module.functions[name] for name in new]
        others = [f for name, f in module.functions.items() if name not in used]
        for name in used - reachable(module, [graph, *others]):
            module.functions.pop(name)


def _specialise(node: Node, kind: Kind, module: Module) -> None:
    functions = [module.functions.get(name) for key in kind.functions for name in _names(node.attrs[key])]
    operands = node.inputs[kind.first :]
    if any(f is None or len(f.inputs) != len(operands) for f in functions):
        return
    found = [f for f in functions if f is not None]
    fixed = [i for i in range(len(operands)) if not kind.loops or _handed_on(found[1], i)]
    for index in fixed if kind.loops else ():
        for user, place in node.outputs[index].uses:
            user.set_input(place, operands[index])
    constants = {i: t for i in fixed if (t := constant_of(operands[i])) is not None and _is_read(found, kind, i)}
    dropped = [i for i in fixed if (i in constants or not _is_read(found, kind, i)) and not _is_wanted(node, kind, i)]
    if (constants or dropped) and len(dropped) < len(operands):
        _rewrite(node, kind, module, constants, frozenset(dropped))


def _names(value: AttrValue) -> list[str]:
    return [v.name for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, FuncRef)]


def _handed_on(body: Graph, index: int) -> bool:
    value = body.outputs[index]
    while value.producer is not None and value.producer.op == "Identity" and not value.producer.control:
        value = value.producer.inputs[0]
    return value is body.inputs[index]


def _is_read(functions: Sequence[Graph], kind: Kind, index: int) -> bool:
    """Whether a function does more with its argument than return it in the same place (loops) or reads it at all (branches)."""
    return any(
        _reads(f, f.inputs[index], f.outputs[index] if kind.loops and n else None) for n, f in enumerate(functions)
    )


def _reads(function: Graph, formal: Value, returned: Value | None) -> bool:
    waiting = [formal]
    while waiting:
        value = waiting.pop()
        if any(v is value and (returned is None or v is not returned) for v in function.outputs):
            return True
        if sum(v is value for v in function.outputs) > 1:
            return True
        for user in value.users:
            if (
                user.op != "Identity"
                or user.control_users
                or (function.keeps(user) and user.outputs[0] is not returned)
            ):
                return True
            waiting.append(user.outputs[0])
    return False


def _is_wanted(node: Node, kind: Kind, index: int) -> bool:
    """Whether the result of a loop for this variable is used."""
    return kind.loops and (bool(node.outputs[index].uses) or node.outputs[index].is_output)


@attrs.frozen(slots=True, eq=False)
class _Change:
    """What becomes of the arguments of functions: constants by number, with where they come from, and those that stay arguments."""

    module: Module
    constants: Mapping[int, Tensor]
    origins: Mapping[int, tuple[str, ...]]
    kept: Sequence[int]


def _rewrite(node: Node, kind: Kind, module: Module, constants: Mapping[int, Tensor], dropped: frozenset[int]) -> None:
    kept = [i for i in range(len(node.inputs) - kind.first) if i not in dropped]
    makers = {i: node.inputs[kind.first + i].producer for i in constants}
    change = _Change(module, constants, {i: m.origin for i, m in makers.items() if m is not None}, kept)
    attributes = {k: v for k, v in node.attrs.items() if k not in BY_NUMBER}
    for key in kind.functions:
        attributes[key] = _copies(attributes[key], change, returned=kind.loops and key == "body")
    attributes[kind.types] = _chosen(attributes[kind.types], kept)
    shapes = attributes.get("output_shapes")
    if kind.loops and shapes:
        attributes["output_shapes"] = _chosen(shapes, kept)
    _replace(node, kind, attributes, kept)


def _chosen(values: AttrValue, kept: Sequence[int]) -> AttrValue:
    assert isinstance(values, tuple)
    return tuple(values[i] for i in kept)


def _replace(node: Node, kind: Kind, attributes: Mapping[str, AttrValue], kept: Sequence[int]) -> None:
    """A node of the same name in place of ``node``."""
    graph = node.graph
    inputs = [*node.inputs[: kind.first], *(node.inputs[kind.first + i] for i in kept)]
    wanted = kept if kind.loops else range(len(node.outputs))
    old = node
    for name in (f"{node.name}/specialised", node.name):  # the first gives the name free for the second
        new = graph.add(
            node.op, inputs, attributes, name=name, control=old.control, before=old, device=old.device, origin=old.origin,
            types=[node.outputs[i].type for i in wanted],
        )  # fmt: skip
        results = old.outputs if old is not node else [node.outputs[i] for i in wanted]
        for mine, theirs in zip(results, new.outputs, strict=True):
            mine.replace_uses(theirs)
        for user in old.control_users:
            user.set_control(new if c is old else c for c in user.control)
        graph.set_keep({k: new if n is old else n for k, n in graph.keep.items()})
        graph.erase(old)
        old = new


def _copies(value: AttrValue, change: _Change, *, returned: bool) -> AttrValue:
    """Copies of the functions; ``returned`` when they return their arguments, as the body of a loop does."""
    if isinstance(value, tuple):
        return tuple(_copies(v, change, returned=returned) for v in value)
    assert isinstance(value, FuncRef)
    function = change.module.functions[value.name]
    results = change.kept if returned else range(len(function.outputs))
    copy = _copy(function, _free_name(change.module, value.name), change, results)
    change.module.add_function(copy)
    return attrs.evolve(value, name=copy.name)


def _free_name(module: Module, name: str) -> str:
    return next(
        n for n in _numbered(f"{name}_special") if n not in module.functions and n not in module.opaque_functions
    )


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        yield f"{name}_{number}"
        number += 1


def _copy(function: Graph, name: str, change: _Change, results: Sequence[int]) -> Graph:
    """``function`` with fewer arguments and with the results of these numbers."""
    copy = Graph(name, function.ops, function.dialect)
    copy.attrs = {k: v for k, v in function.attrs.items() if k not in BY_NUMBER}
    copy.functions = function.functions
    copy.source = (function.source[0], -1) if isinstance(function.source, tuple) else None
    values = {f: copy.add_input(f.name_hint, f.type) for i, f in enumerate(function.inputs) if i in change.kept}
    for index, tensor in change.constants.items():
        formal = function.inputs[index]
        attributes: dict[str, AttrValue] = {"value": tensor, "dtype": tensor.dtype}
        label, origin = f"{formal.name_hint}/value", change.origins[index]
        values[formal] = copy.add("Const", [], attributes, name=label, origin=origin, types=[tensor.type]).output
    clones: dict[Node, Node] = {}
    for node in function:
        if all(v in values for v in node.inputs):  # what is left out hands on an argument that is dropped
            control = [clones[c] for c in node.control if c in clones]
            clones[node] = copy_node(copy, node, [values[v] for v in node.inputs], control)
            values.update(zip(node.outputs, clones[node].outputs, strict=True))
    copy.set_outputs([values[function.outputs[i]] for i in results], [function.output_names[i] for i in results])
    copy.set_keep({key: clones[node] for key, node in function.keep.items() if node in clones})
    return copy
