"""Frozen graphs in sessions of TensorFlow, with the tables and variables of the model that they are part of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:  # the command line reads this module before it knows whether TensorFlow is needed
    from tfgraphopt.graphdef import GraphDef

_SCOPE = "tfgraphopt_state"


@attrs.frozen(slots=True)
class Restore:
    """How variables get their values: the tensor to feed with the prefix of a checkpoint's files, and the op that reads them."""

    prefix: Path
    filename: str
    op: str


@attrs.frozen(slots=True, eq=False)
class State:
    """What a frozen graph needs of its model: tables, variables that it writes, and whatever else is not in it.

    Attributes:
        graph_def: the part of the model's own graph that makes these, restores and initialises them.
        tensors: tensors of the frozen graph (handles, mostly) and those of ``graph_def`` that stand for them.
        restore: how variables get their values; None when the model has no checkpoint.
        assets: the files of the model, by the tensors of ``graph_def`` that name them.
        initialisers: ops of ``graph_def`` that are run at the end, in this order.
    """

    graph_def: GraphDef = attrs.field(repr=False)
    tensors: Mapping[str, str]
    restore: Restore | None = None
    assets: Mapping[str, Path] = attrs.field(factory=dict)
    initialisers: Sequence[str] = ()


def is_bound(node: str, state: State | None) -> bool:
    """Whether ``node`` of a frozen graph stands for something of its model, and nobody feeds it."""
    return state is not None and f"{node}:0" in state.tensors


def open_session(graph_def: GraphDef, state: State | None = None, config: Any = None) -> Any:
    """A ``tf.compat.v1.Session`` on a graph whose nodes keep their names; close it.

    Every session has tables and variables of its own, as they are when the model has been loaded.

    Args:
        graph_def: a frozen graph, or one that was made of it.
        state: where it takes tables and variables from; None when all is in it.
        config: a ``tf.compat.v1.ConfigProto``.

    Raises:
        ValueError, tensorflow.errors.OpError: what TensorFlow raises where it refuses the graph or cannot restore the state.
    """
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        bound = {} if state is None else _made(state, graph_def)
        tf.graph_util.import_graph_def(graph_def, name="", input_map=bound)
    session = tf.compat.v1.Session(graph=graph, config=config)
    if state is not None:
        try:
            _initialise(session, state)
        except BaseException:
            session.close()
            raise
    return session


def _made(state: State, graph_def: GraphDef) -> dict[str, Any]:
    """The state's ops in the default graph, beside which no node of ``graph_def`` has to be renamed; its tensors by what they stand for."""
    import tensorflow as tf

    nodes = {node.name for node in graph_def.node}
    tensors = {name: made for name, made in state.tensors.items() if name.partition(":")[0] in nodes}
    found = tf.graph_util.import_graph_def(state.graph_def, name=_SCOPE, return_elements=list(tensors.values()))
    return dict(zip(tensors, found, strict=True))


def _initialise(session: Any, state: State) -> None:
    if state.restore is not None:
        session.run(f"{_SCOPE}/{state.restore.op}", {f"{_SCOPE}/{state.restore.filename}": str(state.restore.prefix)})
    files = {f"{_SCOPE}/{tensor}": str(path) for tensor, path in state.assets.items()}
    for name in state.initialisers:
        session.run(f"{_SCOPE}/{name}", files)
