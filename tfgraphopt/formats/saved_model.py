"""Freezing one signature of a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef import GraphDef


@attrs.frozen(slots=True)
class FrozenSignature:
    """A signature as a frozen graph: node names by the structured names of its inputs and outputs."""

    graph_def: GraphDef
    input_names: dict[str, str]
    output_names: dict[str, str]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Node names of the inputs."""
        return tuple(self.input_names.values())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensor names of the outputs."""
        return tuple(self.output_names.values())


def freeze_saved_model(
    path: Path, signature: str = "serving_default", tags: tuple[str, ...] = ("serve",)
) -> FrozenSignature:
    """Freeze ``signature`` of the SavedModel in ``path`` with its variables as constants.

    A TF1 session is used: it also reads the Estimator exports that ``convert_variables_to_constants_v2`` refuses.

    Raises:
        GraphDefError: there is no such SavedModel, meta graph or signature; the message lists what there is.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph
    from tensorflow.python.saved_model.loader_impl import SavedModelLoader

    try:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            meta = SavedModelLoader(str(path)).load(session, list(tags))
            found = _signature(meta, signature)
            names = sorted({t.name.partition(":")[0] for t in found.outputs.values()})
            graph_def = convert_variables_to_constants_from_session_graph(session, meta.graph_def, names)
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise GraphDefError(
            f"{path} cannot be loaded as a SavedModel with tags {', '.join(tags)}", why=str(error)
        ) from error
    return FrozenSignature(
        graph_def,
        {key: t.name.partition(":")[0] for key, t in found.inputs.items()},
        {key: t.name for key, t in found.outputs.items()},
    )


def _signature(meta: Any, name: str) -> Any:
    found = {k: s for k, s in meta.signature_def.items() if k != "__saved_model_init_op"}
    if name not in found:
        raise GraphDefError(
            f"the SavedModel has no signature {name!r}", hint=f"it has {', '.join(sorted(found)) or 'none'}"
        )
    return found[name]
