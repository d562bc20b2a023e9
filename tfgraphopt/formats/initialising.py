"""How a MetaGraphDef's own graph makes, restores and initialises tables and variables, for a session that runs a part of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfgraphopt.formats.checkpoint import Checkpoint
from tfgraphopt.formats.signature import INITIALISER, ancestors
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.graphdef.functions import called_names, reachable
from tfgraphopt.sessions import Restore, State

_MAIN_OPS = ("saved_model_main_op", "legacy_init_op")
_TABLES = "table_initializer"
_ASSETS = "assets"


def state_of(meta: Any, tensors: Mapping[str, str], checkpoint: Checkpoint | None, path: Path | None) -> State | None:
    """The state that a frozen graph takes from its model; None when it takes nothing.

    Args:
        meta: a MetaGraphDef.
        tensors: see :class:`tfgraphopt.sessions.State`.
        checkpoint: the values of the variables.
        path: the SavedModel's directory, for its assets.
    """
    if not tensors:
        return None
    restore = _restore(meta, checkpoint)
    assets = {} if path is None else {a.tensor_info.name: path / _ASSETS / a.filename for a in meta.asset_file_def}
    initialisers = list(dict.fromkeys(_initialisers(meta)))
    reads = [] if restore is None else [restore.filename, restore.op]
    return State(
        _part(meta, [*tensors.values(), *reads, *assets, *initialisers]), tensors, restore, assets, initialisers
    )


def _restore(meta: Any, checkpoint: Checkpoint | None) -> Restore | None:
    saver = meta.saver_def
    if checkpoint is None or not saver.restore_op_name:
        return None
    return Restore(checkpoint.prefix, saver.filename_tensor_name, saver.restore_op_name)


def _initialisers(meta: Any) -> Iterator[str]:
    """The ops that initialise a model when it is loaded: said by a signature, or as TensorFlow 1 did, by collections."""
    if INITIALISER in meta.signature_def:
        yield from (t.name.partition(":")[0] for t in meta.signature_def[INITIALISER].outputs.values())
        return
    mains = [name for key in _MAIN_OPS for name in _collection(meta, key)]
    yield from mains or _collection(meta, _TABLES)


def _collection(meta: Any, key: str) -> list[str]:
    return list(meta.collection_def[key].node_list.value) if key in meta.collection_def else []


def _part(meta: Any, roots: list[str]) -> GraphDef:
    """What ``roots`` need of the graph, with the functions that they may call and no others: those may have changed meanwhile."""
    needed = ancestors(meta.graph_def.node, roots)
    part = GraphDef(versions=meta.graph_def.versions)
    part.node.extend(n for n in meta.graph_def.node if n.name in needed)
    library = {f.signature.name: f for f in meta.graph_def.library.function}
    part.library.function.extend(reachable(library, called_names(part.node)).values())
    return part
