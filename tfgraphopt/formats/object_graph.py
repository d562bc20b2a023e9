"""What a TF2 SavedModel's object graph says: which function is behind a signature, and which variables it captures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.formats.model import shown
from tfgraphopt.formats.signature import INITIALISER, SIGNATURE

_SIGNATURES = "signatures"
_INTERNAL = frozenset({"_create_resource", "_initialize", "_destroy_resource"})
_FORWARDING = frozenset({"Identity", "NoOp"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


@attrs.frozen(slots=True)
class Target:
    """A function of a SavedModel's library to optimise.

    Attributes:
        endpoint: what the user calls it.
        function: the function's name.
        inputs, outputs: structured names of its arguments (captures have names of their own) and results.
        captures: per captured argument, its name and the index of the object that is bound to it.
    """

    endpoint: str
    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captures: Mapping[str, int]


@attrs.frozen(slots=True)
class ObjectGraph:
    """The object graph and the functions of one meta graph."""

    meta: Any = attrs.field(repr=False)
    library: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, meta: Any) -> ObjectGraph:
        """That of a MetaGraphDef."""
        return cls(meta, {f.signature.name: f for f in meta.graph_def.library.function})

    @property
    def nodes(self) -> Any:
        """The saved objects, the root first."""
        return self.meta.object_graph_def.nodes

    def signatures(self) -> list[str]:
        """The names of signatures, the default one first."""
        names = [n for n in self.meta.signature_def if n != INITIALISER]
        return sorted(names, key=lambda n: (n != SIGNATURE, n))

    def functions(self) -> dict[str, list[str]]:
        """Concrete functions by the path of the attribute that they are traces of, for every function a user may call."""
        found: dict[str, list[str]] = {}
        waiting, seen = [(0, "")], {0}
        while waiting:
            index, path = waiting.pop()
            for child in self.nodes[index].children:
                name = f"{path}.{child.local_name}".lstrip(".")
                node = self.nodes[child.node_id]
                if child.local_name in _INTERNAL or name == _SIGNATURES or child.node_id in seen:
                    continue
                seen.add(child.node_id)
                if node.HasField("function"):
                    found[name] = list(node.function.concrete_functions)
                elif node.HasField("bare_concrete_function"):
                    found[name] = [node.bare_concrete_function.concrete_function_name]
                else:
                    waiting.append((child.node_id, name))
        return found

    def targets(self, wanted: Sequence[str] | None) -> list[Target]:
        """What to optimise: the signatures or functions of these names; by default every signature, or else the root's functions.

        Raises:
            GraphDefError: there is none of that name; the message lists what there is.
        """
        signatures, functions = self.signatures(), self.functions()
        if wanted is None:
            wanted = signatures or [name for name in functions if "." not in name]
            if not wanted:
                raise GraphDefError("the SavedModel has neither signatures nor functions")
        targets: dict[str, Target] = {}
        for name in wanted:
            if name not in signatures and name not in functions:
                raise GraphDefError(
                    f"the SavedModel has no signature {name!r}",
                    hint=f"it has {shown(signatures)}; functions: {shown(list(functions))}",
                )
            for target in [self._signature(name)] if name in signatures else self._traces(name, functions[name]):
                targets.setdefault(target.function, target)
        return list(targets.values())

    def callers(self, function: str) -> list[str]:
        """``function`` and those that do nothing but call it, or one another."""
        calls = {name: _only_call(f) for name, f in self.library.items()}
        called = {name: call.attr["f"].func.name for name, call in calls.items() if call is not None}
        found = [function]
        for name in found:
            found += [caller for caller, callee in called.items() if callee == name and caller not in found]
        return found

    def bound_kinds(self, function: str) -> set[str]:
        """The kinds of objects that are bound to the function's arguments: ``variable``, ``constant``, ``resource``, ..."""
        return {self.nodes[i].WhichOneof("kind") for i in self._bound(function)}

    def bound_tensors(self) -> dict[int, str]:
        """Tensors of the graph by the index of the object that they hold: of every object that a signature's function captures."""
        found: dict[int, str] = {}
        nodes = {n.name: n for n in self.meta.graph_def.node}
        for name in self.signatures():
            for output in self.meta.signature_def[name].outputs.values():
                call = nodes[output.name.partition(":")[0]]
                bound = self._bound(call.attr["f"].func.name) if call.op in _CALLS else ()
                data = [i for i in call.input if not i.startswith("^")]
                found.update(zip(bound, data[len(data) - len(bound) :], strict=True))
        return {index: i if ":" in i else f"{i}:0" for index, i in found.items()}

    def _signature(self, name: str) -> Target:
        signature = self.meta.signature_def[name]
        nodes = {n.name: n for n in self.meta.graph_def.node}
        calls = {t.name.partition(":")[0] for t in signature.outputs.values()}
        call = nodes[calls.pop()]
        if calls or call.op not in _CALLS:
            raise GraphDefError(f"signature {name!r} does not call one function", where=[call.name])
        function = call.attr["f"].func.name
        data = [i for i in call.input if not i.startswith("^")]
        by_node = {t.name.partition(":")[0]: key for key, t in signature.inputs.items()}
        count = len(self.library[function].signature.output_arg)
        outputs = {int(t.name.partition(":")[2] or 0): key for key, t in signature.outputs.items()}
        names = [outputs.get(i, f"unnamed_{i}") for i in range(count)]
        inputs = [by_node.get(i.partition(":")[0], "") for i in data]
        return self._behind(self._target(name, function, inputs, names))

    def _traces(self, name: str, functions: Sequence[str]) -> Iterator[Target]:
        for index, function in enumerate(functions):
            signature = self.library[function].signature
            bound = len(self._bound(function))
            inputs = [a.name for a in signature.input_arg]
            inputs[len(inputs) - bound :] = [""] * bound
            endpoint = name if len(functions) == 1 else f"{name}/{index}"
            yield self._behind(self._target(endpoint, function, inputs, [a.name for a in signature.output_arg]))

    def _bound(self, function: str) -> Sequence[int]:
        known: Sequence[int] = self.meta.object_graph_def.concrete_functions[function].bound_inputs
        return known

    def _target(self, endpoint: str, function: str, inputs: Sequence[str], outputs: Sequence[str]) -> Target:
        """A target; arguments that have no name yet are its captures, and get names that no other argument has."""
        bound = self._bound(function)
        taken = {i for i in inputs if i}
        names, captures = [], {}
        arguments = self.library[function].signature.input_arg
        first = len(arguments) - len(bound)
        for index, (given, arg) in enumerate(zip(inputs, arguments, strict=True)):
            name = given
            if not name:
                name = arg.name
                while name in taken:
                    name += "_"
                taken.add(name)
                if index >= first:
                    captures[name] = bound[index - first]
            names.append(name)
        return Target(endpoint, function, tuple(names), tuple(outputs), captures)

    def _behind(self, target: Target) -> Target:
        """The function that does the work, where ``target`` is a mere wrapper: optimised once, both gain."""
        function = self.library[target.function]
        call = _only_call(function)
        if call is None:
            return target
        name = call.attr["f"].func.name
        arguments = {a.name: given for a, given in zip(function.signature.input_arg, target.inputs, strict=True)}
        inputs = [arguments.get(i) for i in call.input if not i.startswith("^")]
        if name not in self.library or any(i is None for i in inputs) or len(set(inputs)) < len(inputs):
            return target
        outputs = self._outputs_behind(function, call, target.outputs, len(self.library[name].signature.output_arg))
        names = tuple(i for i in inputs if i is not None)
        inner = Target(
            target.endpoint, name, names, outputs, {n: target.captures[n] for n in names if n in target.captures}
        )
        return self._behind(inner)

    def _outputs_behind(self, function: Any, call: Any, names: Sequence[str], count: int) -> tuple[str, ...]:
        """Names of the results of ``call``, from those of the wrapper that returns them through identities."""
        nodes = {n.name: n for n in function.node_def}
        found: dict[int, str] = {}
        for arg, name in zip(function.signature.output_arg, names, strict=True):
            reference = function.ret[arg.name]
            while reference.partition(":")[0] in nodes and nodes[reference.partition(":")[0]].op == "Identity":
                reference = nodes[reference.partition(":")[0]].input[0]
            if reference.partition(":")[0] == call.name:
                found[int(reference.rpartition(":")[2] if reference.count(":") == 2 else 0)] = name
        return tuple(found.get(i, f"unnamed_{i}") for i in range(count))


def _only_call(function: Any) -> Any:
    """The call that ``function`` hands its arguments to and its results from, when it does nothing else."""
    work = [n for n in function.node_def if n.op not in _FORWARDING]
    return work[0] if len(work) == 1 and work[0].op in _CALLS else None
