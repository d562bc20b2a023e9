"""Frozen GraphDefs as models: given back as a SavedModel with one signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.formats.model import Endpoint, Writing
from tfgraphopt.formats.plan_files import move_plans
from tfgraphopt.formats.saved_model import FILE, serialised
from tfgraphopt.formats.signature import SIGNATURE, add_signature, ends, key_of
from tfgraphopt.graphdef import GraphDef, export_graph_def, import_graph_def, tf_op_table
from tfgraphopt.ir import OpTable
from tfgraphopt.transforms.dead_code import FED


@attrs.frozen(slots=True, eq=False)
class FrozenGraph:
    """A GraphDef and what its caller fetches; by default every end of it."""

    graph_def: GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...] = ()

    def endpoints(self, ops: OpTable, wanted: Sequence[str] | None) -> list[Endpoint]:
        """See :class:`tfgraphopt.formats.model.Model`."""
        if wanted is not None and list(wanted) != [SIGNATURE]:
            raise GraphDefError("a GraphDef has no signatures", hint="say what is fetched by outputs=")
        outputs = self.outputs or ends(self.graph_def.node)
        module = import_graph_def(self.graph_def, list(outputs), ops=ops)
        inputs = {n.name: n.name for n in module.main if n.op in FED}
        return [Endpoint(SIGNATURE, module, inputs, {key_of(o): o for o in outputs}, original=self.graph_def)]

    def write(self, directory: Path, optimised: Mapping[str, Endpoint], how: Writing) -> None:
        """See :class:`tfgraphopt.formats.model.Model`."""
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        endpoint = next(iter(optimised.values()), None) or self.endpoints(tf_op_table(), None)[0]
        saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
        meta = saved.meta_graphs.add()
        meta.meta_info_def.tags.append("serve")
        meta.meta_info_def.tensorflow_version = tf.__version__
        meta.graph_def.CopyFrom(export_graph_def(endpoint.module))
        add_signature(meta, endpoint.module.main, endpoint.inputs, endpoint.outputs)
        move_plans(meta, directory, how.plans)
        (directory / FILE).write_bytes(serialised(saved, directory))
