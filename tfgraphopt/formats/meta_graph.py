"""Graphs of TensorFlow 1: SavedModels without an object graph, and checkpoints with a meta graph.

All signatures are optimised together, for they are parts of one graph; whatever they do not need (saver, initialisers, training)
stays beside them as it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.formats.checkpoint import Checkpoint
from tfgraphopt.formats.initialising import state_of
from tfgraphopt.formats.model import Endpoint, Writing, shown
from tfgraphopt.formats.plan_files import move_plans
from tfgraphopt.formats.saved_model import FILE, serialised
from tfgraphopt.formats.signature import INITIALISER, add_signature, ancestors, ends, key_of
from tfgraphopt.graphdef import GraphDef, attr_of_proto, export_graph_def, import_graph_def
from tfgraphopt.ir import DType, Module, Node, OpTable, Tensor
from tfgraphopt.transforms.dead_code import FED

ALL = "all signatures"
_HANDLES = frozenset({"VarHandleOp"})
_REFERENCES = frozenset({"VariableV2", "Variable", "RefVariable"})
_READ_ONLY = frozenset(
    {"Identity", "ReadVariableOp", "ResourceGather", "VariableShape", "VarIsInitializedOp", "IsVariableInitialized"}
)


@attrs.define(slots=True, eq=False)
class MetaGraphModel:
    """A MetaGraphDef and the checkpoint with the values of its variables.

    Attributes:
        path: the SavedModel's directory, whose assets are copied; None for a bare meta graph.
    """

    meta: Any = attrs.field(repr=False)
    checkpoint: Checkpoint | None = attrs.field(repr=False)
    path: Path | None = None
    read: dict[int, Any] = attrs.field(factory=dict, repr=False)
    """The node that read a variable, by the identity of the tensor that was put in its place."""

    def endpoints(self, ops: OpTable, wanted: Sequence[str] | None) -> list[Endpoint]:
        """See :class:`tfgraphopt.formats.model.Model`; one endpoint for all signatures that are wanted."""
        signatures = {k: s for k, s in self.meta.signature_def.items() if k != INITIALISER and s.outputs}
        unknown = [w for w in wanted or () if w not in signatures]
        if unknown or not signatures:
            raise GraphDefError(
                f"there is no signature {unknown[0] if unknown else ''!r}", hint=f"it has {shown(list(signatures))}"
            )
        chosen = {k: signatures[k] for k in (wanted or signatures)}
        outputs = {key: t.name for s in chosen.values() for key, t in s.outputs.items()}
        fetched = [t.name for s in chosen.values() for t in s.outputs.values()]
        inputs = {key: t.name.partition(":")[0] for s in chosen.values() for key, t in s.inputs.items()}
        module = import_graph_def(_part(self.meta.graph_def, [*fetched, *inputs.values()]), fetched, ops=ops)
        self._freeze(module)
        name = next(iter(chosen)) if len(chosen) == 1 else ALL
        made = [f"{n.name}:0" for n in module.main if _is_made(n)]
        state = state_of(self.meta, dict(zip(made, made, strict=True)), self.checkpoint, self.path)
        return [Endpoint(name, module, inputs, outputs, state=state)]

    def _freeze(self, module: Module) -> None:
        if self.checkpoint is None:
            return
        originals = {n.name: n for n in self.meta.graph_def.node}
        for node in module.main:
            if node.op not in _HANDLES | _REFERENCES or not all(_is_read(u) for u in node.users):
                continue
            tensor = self.checkpoint.tensor(node.name) or self.checkpoint.tensor(
                str(_text(node.attrs.get("shared_name")))
            )
            if tensor is None:
                continue
            for user in node.users:
                if user.op == "ReadVariableOp" or (user.op == "Identity" and node.op in _REFERENCES):
                    self._freeze_read(user, tensor, originals[user.name])

    def _freeze_read(self, node: Node, tensor: Tensor, original: Any) -> None:
        graph, name = node.graph, node.name
        own = Tensor(tensor.dtype, tensor.shape, tensor.numpy)
        const = graph.add(
            "Const", [], {"value": own, "dtype": own.dtype}, name=f"{name}/value", before=node, origin=node.origin,
            types=[own.type],
        )  # fmt: skip
        node.outputs[0].replace_uses(const.output)
        graph.erase(node)
        self.read[id(own)] = original

    def write(self, directory: Path, optimised: Mapping[str, Endpoint], how: Writing) -> None:
        """See :class:`tfgraphopt.formats.model.Model`."""
        if self.path is not None:
            shutil.copytree(
                self.path,
                directory,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(FILE, "*.pbtxt", "fingerprint.pb"),
            )
        elif self.checkpoint is not None:
            _copy_checkpoint(self.checkpoint.prefix, directory / "variables")
        meta = type(self.meta)()
        meta.CopyFrom(self.meta)
        for endpoint in optimised.values():
            self._put_back(meta, endpoint.module)
        if not meta.meta_info_def.tags:
            meta.meta_info_def.tags.append("serve")
        move_plans(meta, directory, how.plans)
        (directory / FILE).write_bytes(serialised(saved_model_of(meta), directory))

    def _put_back(self, meta: Any, module: Module) -> None:
        made = export_graph_def(self._thawed(module))
        names = {n.name for n in made.node}
        fetched = [t.name for s in meta.signature_def.values() for t in s.outputs.values()]
        stay = [*_named_by(meta), *(f for f in fetched if f.partition(":")[0] not in names)]
        rest = ancestors(meta.graph_def.node, stay)
        made.node.extend(n for n in meta.graph_def.node if n.name in rest and n.name not in names)
        known = {f.signature.name for f in made.library.function}
        made.library.function.extend(f for f in meta.graph_def.library.function if f.signature.name not in known)
        made.versions.CopyFrom(meta.graph_def.versions)
        meta.graph_def.CopyFrom(made)

    def _thawed(self, module: Module) -> Module:
        """The module with variables read again where no engine took their values."""
        main = module.main
        for node in main:
            original = self.read.get(id(node.attrs.get("value"))) if node.op == "Const" else None
            variable = main.find(original.input[0].partition(":")[0]) if original is not None else None
            if original is None or main.find(original.name) is not None:
                continue
            if variable is None:
                variable = self._variable(module, original.input[0].partition(":")[0])
            main.move(variable, next(iter(main)))
            attributes = (
                {"dtype": node.outputs[0].dtype} if original.op == "ReadVariableOp" else {"T": node.outputs[0].dtype}
            )
            again = main.add(
                original.op, [variable.output], attributes, name=original.name, before=node, origin=node.origin,
                types=[node.outputs[0].type],
            )  # fmt: skip
            node.outputs[0].replace_uses(again.output)
        return module

    def _variable(self, module: Module, name: str) -> Node:
        original = next(n for n in self.meta.graph_def.node if n.name == name)
        values = {k: attr_of_proto(v) for k, v in original.attr.items()}
        return module.main.add(
            original.op, [], values, name=name, before=next(iter(module.main)), device=original.device
        )


def with_outputs(meta: Any, outputs: Sequence[str] | None) -> Any:
    """The meta graph with a signature of its own where the caller says what is fetched, or it has none.

    Raises:
        GraphDefError: there are no such outputs.
    """
    named = [key for key in meta.signature_def if key != INITIALISER]
    if outputs is None and named:
        return meta
    found = list(outputs or ends(meta.graph_def.node))
    names = {n.name for n in meta.graph_def.node}
    unknown = [o for o in found if o.partition(":")[0] not in names]
    if unknown or not found:
        hint = f"its ends are {shown(ends(meta.graph_def.node))}"
        raise GraphDefError("the meta graph has no such output", where=unknown, hint=hint)
    part = _part(meta.graph_def, found)
    fed = {n.name: n.name for n in part.node if n.op in FED}
    for key in named:
        del meta.signature_def[key]
    add_signature(meta, import_graph_def(part, found).main, fed, {key_of(o): o for o in found})
    return meta


def _part(graph_def: GraphDef, roots: Sequence[str]) -> GraphDef:
    """What ``roots`` need of a graph, with all its functions."""
    needed = ancestors(graph_def.node, roots)
    part = GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(n for n in graph_def.node if n.name in needed)
    return part


def saved_model_of(meta: Any) -> Any:
    """A SavedModel message with one meta graph."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    saved.meta_graphs.add().CopyFrom(meta)
    return saved


def _is_made(node: Node) -> bool:
    """Whether a node makes a table or a variable."""
    return not node.inputs and (
        node.op in _REFERENCES or (node.op not in FED and any(v.dtype is DType.RESOURCE for v in node.outputs))
    )


def _is_read(user: Node) -> bool:
    return user.op in _READ_ONLY


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _named_by(meta: Any) -> list[str]:
    """Every node that the saver, the initialiser, assets or collections name."""
    saver = meta.saver_def
    names = [saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name]
    names += [a.tensor_info.name for a in meta.asset_file_def]
    names += (
        [t.name for t in meta.signature_def[INITIALISER].outputs.values()] if INITIALISER in meta.signature_def else []
    )
    names += [t.name for s in meta.signature_def.values() for t in s.inputs.values()]
    for collection in meta.collection_def.values():
        names += collection.node_list.value
        names += [name for value in collection.bytes_list.value for name in _variable_nodes(value)]
    return [n for n in names if n]


def _variable_nodes(value: bytes) -> list[str]:
    """The nodes that a VariableDef of a collection names."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    try:
        variable = variable_pb2.VariableDef.FromString(value)
    except DecodeError:
        return []
    return [variable.variable_name, variable.initializer_name, variable.snapshot_name, variable.initial_value_name]


def _copy_checkpoint(prefix: Path, directory: Path) -> None:
    directory.mkdir()
    for file in prefix.parent.glob(f"{prefix.name}.*"):
        if not file.name.endswith(".meta"):
            shutil.copy2(file, directory / f"variables{file.name[len(prefix.name) :]}")
