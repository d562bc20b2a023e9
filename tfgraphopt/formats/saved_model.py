"""SavedModels of TensorFlow 2: functions of their libraries are optimised in place, everything else stays as it was written."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.formats.checkpoint import Checkpoint
from tfgraphopt.formats.freezing import freeze, keep_effects_only, only_read
from tfgraphopt.formats.initialising import state_of
from tfgraphopt.formats.model import Endpoint, Writing, shown
from tfgraphopt.formats.object_graph import ObjectGraph, Target
from tfgraphopt.formats.plan_files import move_plans
from tfgraphopt.formats.sharing import Thaw, capture_of
from tfgraphopt.graphdef import tensor_of_proto
from tfgraphopt.graphdef.functions import (
    called_names,
    function_module,
    module_functions,
    reachable,
    rename_calls,
    with_attrs,
)  # fmt: skip
from tfgraphopt.ir import DType, Graph, Module, OpTable, Tensor
from tfgraphopt.passes import Context
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Report
from tfgraphopt.runtimes import PlanAttributes
from tfgraphopt.sessions import State
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt.transforms.inline_functions import InlineFunctions

FILE = "saved_model.pb"
_EMBEDDED = 16 << 20
"""Weights of engines beyond so many bytes are read from the variables where an engine cannot run: a graph that holds them would take ten
times as much memory when it is loaded, and a minute for its first call at 200 MB (measured with TensorFlow 2.21)."""


def read_saved_model(path: Path) -> Any:
    """The SavedModel message in directory ``path``.

    Raises:
        GraphDefError: there is none, or it is damaged.
    """
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        return parse_saved_model(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise GraphDefError(f"{path} holds no SavedModel", why=str(error)) from error


def meta_graph(saved: Any, tags: Sequence[str], path: Path) -> Any:
    """The meta graph with exactly these tags, or the only one there is.

    Raises:
        GraphDefError: there is none; the message lists the tags that there are.
    """
    found = [m for m in saved.meta_graphs if set(m.meta_info_def.tags) == set(tags)]
    if found:
        return found[0]
    every = "; ".join(",".join(m.meta_info_def.tags) or "(no tags)" for m in saved.meta_graphs)
    raise GraphDefError(f"{path} has no meta graph with tags {','.join(tags) or '(none)'}", hint=f"it has {every}")


@attrs.define(slots=True, eq=False)
class FunctionModel:
    """A TF2 SavedModel on disk."""

    path: Path
    meta: Any = attrs.field(repr=False)
    objects: ObjectGraph = attrs.field(repr=False)
    checkpoint: Checkpoint | None = attrs.field(repr=False)
    targets: dict[str, Target] = attrs.field(factory=dict, repr=False)
    frozen: dict[str, dict[int, str]] = attrs.field(factory=dict, repr=False)
    """Per endpoint, the argument by the identity of the tensor that was read from it."""

    @classmethod
    def open(cls, path: Path, meta: Any) -> FunctionModel:
        """The model whose MetaGraphDef is ``meta``."""
        return cls(path, meta, ObjectGraph.of(meta), Checkpoint.open(path / "variables" / "variables"))

    def endpoints(self, ops: OpTable, wanted: Sequence[str] | None) -> list[Endpoint]:
        """See :class:`tfgraphopt.formats.model.Model`."""
        targets = self.objects.targets(wanted)
        modules = {t.endpoint: self._module(t, ops) for t in targets}
        state = {i for t in targets for i in _written(modules[t.endpoint], t)}
        keys = {} if self.checkpoint is None else self.checkpoint.keys_by_node(self.objects.nodes)
        return [self._endpoint(t, modules[t.endpoint], state, keys) for t in targets]

    def _module(self, target: Target, ops: OpTable) -> Module:
        module = function_module(self.objects.library, target.function, target.inputs, target.outputs, ops)
        InlineFunctions().run(module.main, Context(module, None, Tables((), (), {}, {}), Report()))
        return module

    def _endpoint(self, target: Target, module: Module, state: set[int], keys: Mapping[int, str]) -> Endpoint:
        tensors: dict[str, Tensor] = {}
        for name, index in target.captures.items():
            tensor = None if index in state else self._value(index, keys)
            if tensor is not None:
                tensors[name] = tensor
        freeze(module, tensors)
        keep_effects_only(module.main)
        erase_dead(module.main)
        _erase_unused(module.main, target.captures)
        self.targets[target.endpoint] = target
        self.frozen[target.endpoint] = {id(tensor): name for name, tensor in tensors.items()}
        inputs = {n: n for n in target.inputs if n not in target.captures}
        outputs = dict(zip(target.outputs, module.main.output_names, strict=True))
        return Endpoint(
            target.endpoint, module, inputs, outputs, self._notes(target, state), state=self._state(target, module)
        )

    def _state(self, target: Target, module: Module) -> State | None:
        """Where the captures that have not become constants come from: those that a signature has, as others are in no graph."""
        left = {name: index for name, index in target.captures.items() if module.main.find(name) is not None}
        known = self.objects.bound_tensors() if left else {}
        tensors = {f"{name}:0": known[index] for name, index in left.items() if index in known}
        return state_of(self.meta, tensors, self.checkpoint, self.path)

    def _value(self, index: int, keys: Mapping[int, str]) -> Tensor | None:
        """The value that is bound to an argument, where it may be a constant."""
        node = self.objects.nodes[index]
        if node.HasField("variable") and index in keys and self.checkpoint is not None:
            return self.checkpoint.tensor(keys[index])
        if node.HasField("constant"):
            found = next((n for n in self.meta.graph_def.node if n.name == node.constant.operation), None)
            if found is not None and found.op == "Const":
                return tensor_of_proto(found.attr["value"].tensor)
        return None

    def _notes(self, target: Target, state: set[int]) -> list[str]:
        bound = [self.objects.nodes[i] for i in target.captures.values() if i in state]
        names = [node.variable.name for node in bound if node.HasField("variable")]
        return [f"it writes {shown(names)}, which therefore stay variables"] if names else []

    # -- giving back -------------------------------------------------------------------------------------------------

    def write(self, directory: Path, optimised: Mapping[str, Endpoint], how: Writing) -> None:
        """See :class:`tfgraphopt.formats.model.Model`."""
        shutil.copytree(
            self.path, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns(FILE, "*.pbtxt", "fingerprint.pb")
        )
        saved = read_saved_model(self.path)
        meta = meta_graph(saved, tuple(self.meta.meta_info_def.tags), self.path)
        library = dict(self.objects.library)
        size = self._constant_bytes(optimised.values())
        sharing = how.plans if size > min(how.max_embedded_bytes, _EMBEDDED) else ()
        for name, endpoint in optimised.items():
            self._put_back(self.targets[name], endpoint.module, library, sharing, size > how.max_embedded_bytes)
        meta.graph_def.library.ClearField("function")
        meta.graph_def.library.function.extend(_live(meta, library).values())
        move_plans(meta, directory, how.plans, [other for other in saved.meta_graphs if other is not meta])
        (directory / FILE).write_bytes(serialised(saved, directory))

    def _put_back(
        self, target: Target, module: Module, library: dict[str, Any], sharing: Sequence[PlanAttributes], computed: bool
    ) -> None:
        captures = self.frozen[target.endpoint]
        original = library[target.function]
        kinds = {given: arg.type for given, arg in zip(target.inputs, original.signature.input_arg, strict=True)}
        variables = {key: name for key, name in captures.items() if kinds[name] == DType.RESOURCE.number}
        thaw = Thaw(module, captures, variables, sharing, computed)
        function, called = module_functions(module, original, target.inputs, thaw.copy, thaw.functions)
        names = _renamed(called, library)
        for one in called:
            renamed = rename_calls(one, names)
            library[renamed.signature.name] = renamed
        library[target.function] = rename_calls(function, names)
        self._mark(target.function, module, library)

    def _mark(self, function: str, module: Module, library: dict[str, Any]) -> None:
        """Give a function, and those that do nothing but call it, the attributes that passes gave to the main graph.

        They say how to run it (``_XlaMustCompile``), which arguments that are left over may forbid: tables, for one.
        """
        for name in self.objects.callers(function) if module.main.attrs else ():
            if self.objects.bound_kinds(name) <= {"variable", "constant"}:
                library[name] = with_attrs(library[name], module.main.attrs)

    def _constant_bytes(self, endpoints: Iterable[Endpoint]) -> int:
        """The size of the constants that were variables."""
        total = 0
        for endpoint in endpoints:
            known = self.frozen[endpoint.name]
            bodies = endpoint.module.graphs("tf")
            values = [n.attrs["value"] for body in bodies for n in body if capture_of(n, known)]
            total += sum(v.num_bytes for v in values if isinstance(v, Tensor))
        return total


def _erase_unused(graph: Graph, names: Iterable[str]) -> None:
    """Captures that are constants now are no inputs any more."""
    for name in names:
        node = graph.find(name)
        if node is not None and not node.has_users and not graph.keeps(node):
            graph.erase(node)


def _written(module: Module, target: Target) -> list[int]:
    """Captured variables that the function does anything else with than reading them."""
    found = []
    for name, index in target.captures.items():
        node = module.main.find(name)
        if node is not None and node.outputs[0].dtype is DType.RESOURCE and not only_read(node.outputs[0]):
            found.append(index)
    return found


def _renamed(called: Iterable[Any], library: Mapping[str, Any]) -> dict[str, str]:
    """New names for functions that differ from those of the library that have their names."""
    names = {}
    for function in called:
        name = function.signature.name
        if name in library and library[name] != function:
            digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()[:12]
            names[name] = f"{name}_optimised_{digest}"
    return names


def _live(meta: Any, library: Mapping[str, Any]) -> dict[str, Any]:
    """The functions that the graph, the saved objects or a gradient may call."""
    roots = called_names(meta.graph_def.node) | set(meta.object_graph_def.concrete_functions)
    roots |= {g.gradient_func for g in meta.graph_def.library.gradient}
    roots |= {g.function_name for g in meta.graph_def.library.gradient}
    return reachable(library, roots)


def serialised(saved: Any, directory: Path) -> bytes:
    """The bytes of a SavedModel message.

    Raises:
        GraphDefError: it is larger than protocol buffers can be.
    """
    from google.protobuf.message import EncodeError

    try:
        data: bytes = saved.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise GraphDefError(_TOO_LARGE.format(directory), why=str(error), hint=_SMALLER) from error
    if len(data) >= 1 << 31:
        raise GraphDefError(_TOO_LARGE.format(directory), why=f"its graph has {len(data)} bytes", hint=_SMALLER)
    return data


_TOO_LARGE = "{} cannot be written: protocol buffers end at 2 GB"
_SMALLER = "set max_embedded_bytes lower, so that plans and weights go to files of their own"
