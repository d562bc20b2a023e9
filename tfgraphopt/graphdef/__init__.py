"""GraphDef to Module and back: the only place that touches TensorFlow's protocol buffers.

Law: ``export_graph_def(import_graph_def(g))`` equals ``g`` up to default attributes and node order.
"""

from tfgraphopt.graphdef.attributes import attr_of_proto, attr_to_proto, tensor_of_proto
from tfgraphopt.graphdef.exporter import (
    export_graph_def,
    function_names,
    opaque_of_bytes,
    opaque_to_bytes,
    original_name,
)
from tfgraphopt.graphdef.importer import GraphDef, import_graph_def, is_graph_def, parse_graph_def
from tfgraphopt.graphdef.inference import Inferred, evaluate, infer_at, infer_node, infer_types
from tfgraphopt.graphdef.op_defs import op_def_of, tf_op_table
from tfgraphopt.graphdef.renaming import rename_changed_functions

__all__ = [
    "GraphDef", "Inferred", "attr_of_proto", "attr_to_proto", "evaluate", "export_graph_def", "function_names", "import_graph_def",
    "infer_at", "infer_node", "infer_types", "is_graph_def", "opaque_of_bytes", "opaque_to_bytes", "op_def_of", "original_name",
    "parse_graph_def", "rename_changed_functions", "tensor_of_proto", "tf_op_table",
]  # fmt: skip
