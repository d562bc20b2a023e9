"""Reading models from files: frozen GraphDefs (binary or text) and SavedModels."""

from __future__ import annotations

from pathlib import Path

import attrs
from google.protobuf import text_format

from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef import GraphDef, parse_graph_def


@attrs.frozen(slots=True)
class LoadedModel:
    """A frozen graph and the names its caller fetches."""

    graph_def: GraphDef
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()


def load_model(path: Path, outputs: str = "", signature: str = "serving_default", tags: str = "serve") -> LoadedModel:
    """The frozen graph in ``path``.

    Args:
        path: a ``.pb`` or ``.pbtxt`` GraphDef, or a SavedModel directory, whose variables are frozen.
        outputs: names to fetch, separated by commas; by default what the signature returns, or every end of a GraphDef.
        signature, tags: which signature and meta graph (tags separated by commas) of a SavedModel.

    Raises:
        GraphDefError: there is no such file, or it holds no model.
    """
    wanted = tuple(name for name in outputs.split(",") if name)
    if path.is_dir():
        from tfgraphopt.formats.saved_model import freeze_saved_model

        frozen = freeze_saved_model(path, signature, tuple(t for t in tags.split(",") if t))
        return LoadedModel(frozen.graph_def, wanted or frozen.outputs, frozen.inputs)
    graph_def = _read(path)
    return LoadedModel(graph_def, wanted or ends(graph_def))


def _read(path: Path) -> GraphDef:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GraphDefError(f"{path} cannot be read", why=str(error)) from error
    if path.suffix != ".pbtxt":
        return parse_graph_def(data, str(path))
    graph_def = GraphDef()
    try:
        text_format.Parse(data, graph_def)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise GraphDefError(f"{path} is not a GraphDef in text form", why=str(error)) from error
    return graph_def


def ends(graph_def: GraphDef) -> tuple[str, ...]:
    """The nodes that no other node reads or waits for, constants and no-ops left out."""
    read = {i.removeprefix("^").partition(":")[0] for n in graph_def.node for i in n.input}
    return tuple(n.name for n in graph_def.node if n.name not in read and n.op not in ("Const", "NoOp", "Placeholder"))
