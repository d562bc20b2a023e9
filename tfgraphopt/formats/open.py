"""Finds out what somebody has handed over, and opens it as a model."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tfgraphopt.errors import GraphDefError
from tfgraphopt.formats import in_memory
from tfgraphopt.formats.checkpoint import Checkpoint
from tfgraphopt.formats.frozen_graph import FrozenGraph
from tfgraphopt.formats.meta_graph import MetaGraphModel, with_outputs
from tfgraphopt.formats.model import Model
from tfgraphopt.formats.saved_model import FunctionModel, meta_graph, read_saved_model
from tfgraphopt.graphdef import GraphDef, is_graph_def, parse_graph_def

KERAS = (".keras", ".h5", ".hdf5")
"""How the names of Keras models' files end."""
_ACCEPTED = (
    "a GraphDef, a .pb or .pbtxt file, a SavedModel or TF-Hub directory, a Keras model or .keras or .h5 file, a tf.function, "
    "a ConcreteFunction, or a TF1 checkpoint with its .meta file"
)


def open_model(model: Any, *, outputs: Sequence[str] | None = None, tags: Sequence[str] = ("serve",)) -> Model:
    """The model, in whatever form it comes.

    Args:
        model: see :func:`tfgraphopt.optimize`.
        outputs: what is fetched of a GraphDef, or of a graph of TensorFlow 1.
        tags: which meta graph of a SavedModel.

    Raises:
        GraphDefError: it is nothing of the kind, damaged, or ``outputs`` does not go with it.
    """
    if is_graph_def(model):
        return FrozenGraph(model, tuple(outputs or ()))
    if isinstance(model, str | Path):
        return _open_path(Path(model), outputs, tuple(tags))
    if outputs is not None:
        raise GraphDefError(f"outputs do not go with a {type(model).__name__}", hint="its own results are its outputs")
    if in_memory.is_keras(model):
        return _saved(model, in_memory.save_keras)
    if in_memory.is_function(model):
        return _saved(model, in_memory.save_function)
    raise GraphDefError(f"a {type(model).__name__} is no model", hint=f"pass {_ACCEPTED}")


def _saved(model: Any, save: Callable[[Any, Path], None]) -> Model:
    """A model of this process, as a SavedModel in a directory that lives as long as what is returned."""
    scratch = Path(tempfile.mkdtemp(prefix="tfgraphopt-"))
    try:
        save(model, scratch / "model")
        opened = _open_directory(scratch / "model", None, ("serve",))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    weakref.finalize(opened, shutil.rmtree, scratch, ignore_errors=True)
    return opened


def _open_path(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    if path.is_dir():
        return _open_directory(path, outputs, tags)
    reader = _FILES.get(path.suffix)
    if reader is None and path.with_name(f"{path.name}.meta").exists():
        return _open_checkpoint(path.with_name(f"{path.name}.meta"), outputs, tags)
    return (reader or _open_graph)(path, outputs, tags)


def _open_directory(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    meta = meta_graph(read_saved_model(path), tags, path)
    if meta.HasField("object_graph_def") and meta.object_graph_def.nodes:
        if outputs:
            raise GraphDefError(
                f"{path} is a SavedModel of TensorFlow 2", why="outputs= names nodes of a graph", hint="use signatures="
            )
        return FunctionModel.open(path, meta)
    return MetaGraphModel(with_outputs(meta, outputs), Checkpoint.open(path / "variables" / "variables"), path)


def _open_graph(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    return FrozenGraph(parse_graph_def(_bytes(path), str(path)), tuple(outputs or ()))


def _open_text(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    graph_def = GraphDef()
    try:
        text_format.Parse(_bytes(path), graph_def)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise GraphDefError(f"{path} is not a GraphDef in text form", why=str(error)) from error
    return FrozenGraph(graph_def, tuple(outputs or ()))


def _open_keras(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    _bytes(path)
    return open_model(in_memory.load_keras(path), outputs=outputs)


def _open_checkpoint(path: Path, outputs: Sequence[str] | None, tags: Sequence[str]) -> Model:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import meta_graph_pb2

    meta = meta_graph_pb2.MetaGraphDef()
    try:
        meta.ParseFromString(_bytes(path))
    except DecodeError as error:
        raise GraphDefError(f"{path} is not a meta graph", why=str(error)) from error
    return MetaGraphModel(with_outputs(meta, outputs), Checkpoint.open(path.with_suffix("")))


_FILES: dict[str, Callable[[Path, Sequence[str] | None, Sequence[str]], Model]] = {
    ".pbtxt": _open_text, ".meta": _open_checkpoint, **dict.fromkeys(KERAS, _open_keras),
}  # fmt: skip


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraphDefError(f"{path} cannot be read", why=str(error)) from error
