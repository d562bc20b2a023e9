"""Models from files as frozen graphs, for what works on one graph: the command line."""

from __future__ import annotations

from pathlib import Path

import attrs

from tfgraphopt.formats.meta_graph import MetaGraphModel
from tfgraphopt.formats.open import open_model
from tfgraphopt.formats.saved_model import FunctionModel
from tfgraphopt.graphdef import GraphDef, export_graph_def, tf_op_table
from tfgraphopt.sessions import State


@attrs.frozen(slots=True)
class LoadedModel:
    """A frozen graph and what its caller knows of it.

    Attributes:
        outputs: what is fetched.
        inputs: the nodes that are fed.
        state: what runs need of the model beside the graph.
        names: structured names of the outputs, in their order.
    """

    graph_def: GraphDef
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    state: State | None = None
    names: tuple[str, ...] = ()


def load_model(path: Path, outputs: str = "", signature: str = "serving_default", tags: str = "serve") -> LoadedModel:
    """The frozen graph in ``path``; where it has engines, this process knows their ops then.

    Args:
        path: whatever of a model's files :func:`tfgraphopt.optimize` takes.
        outputs: names to fetch, separated by commas, of a GraphDef or a TF1 graph; by default what the signature returns, or every
            end of a GraphDef.
        signature, tags: which signature (or function) and meta graph (tags separated by commas) of a SavedModel.

    Raises:
        GraphDefError: there is no such file or signature, or it holds no model.
        NativeBuildError: it has engines, and their ops cannot be compiled.
    """
    from tfgraphopt.running import load_unknown_ops

    wanted = tuple(name for name in outputs.split(",") if name)
    model = open_model(path, outputs=wanted or None, tags=tuple(t for t in tags.split(",") if t))
    graph_def = getattr(model, "graph_def", None)
    load_unknown_ops(model.meta.graph_def if isinstance(model, FunctionModel | MetaGraphModel) else graph_def)
    (endpoint,) = model.endpoints(tf_op_table(), [signature])[:1]
    return LoadedModel(
        export_graph_def(endpoint.module) if graph_def is None else graph_def,
        tuple(endpoint.outputs.values()), tuple(endpoint.inputs.values()), endpoint.state,
        tuple(endpoint.outputs),
    )  # fmt: skip
