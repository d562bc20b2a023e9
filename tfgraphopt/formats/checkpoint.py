"""Values of variables from a checkpoint, read one by one when somebody asks for their elements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import GraphDefError
from tfgraphopt.ir import DType, Shape, Tensor

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


@attrs.frozen(slots=True)
class Checkpoint:
    """A checkpoint on disk: what it holds by key, and its reader."""

    prefix: Path
    reader: Any = attrs.field(repr=False)
    shapes: Mapping[str, list[int]] = attrs.field(repr=False)
    dtypes: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def open(cls, prefix: Path) -> Checkpoint | None:
        """The checkpoint whose files are called ``prefix`` + suffixes; None when there is none.

        Raises:
            GraphDefError: it is damaged.
        """
        import tensorflow as tf

        if not prefix.with_name(prefix.name + ".index").exists():
            return None
        try:
            reader = tf.train.load_checkpoint(str(prefix))
            return cls(prefix, reader, reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map())
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise GraphDefError(f"the checkpoint {prefix} cannot be read", why=str(error)) from error

    def tensor(self, key: str) -> Tensor | None:
        """The value under ``key``, not read yet; None when there is none, or of a type that constants do not have."""
        if key not in self.shapes:
            return None
        dtype = DType.of_number(self.dtypes[key].as_datatype_enum % 100)
        if dtype in (DType.STRING, DType.RESOURCE, DType.VARIANT):
            return None
        return Tensor(dtype, Shape(self.shapes[key]), lambda: self.reader.get_tensor(key))

    def keys_by_node(self, nodes: Any) -> dict[int, str]:
        """The keys of variables by their index in an object graph that was saved with the checkpoint.

        The two graphs are walked side by side, from the root along the names of children, as TensorFlow does when it restores.
        """
        from tensorflow.core.protobuf import trackable_object_graph_pb2

        if _OBJECT_GRAPH not in self.shapes:
            return {}
        saved = trackable_object_graph_pb2.TrackableObjectGraph.FromString(self.reader.get_tensor(_OBJECT_GRAPH)).nodes
        found: dict[int, str] = {}
        seen = {0}
        waiting = [(0, 0)]
        while waiting:
            here, there = waiting.pop()
            key = next((a.checkpoint_key for a in saved[there].attributes if a.name == _VALUE), None)
            if key is not None:
                found[here] = key
            children = {c.local_name: c.node_id for c in saved[there].children}
            for child in nodes[here].children:
                if child.local_name in children and child.node_id not in seen:
                    seen.add(child.node_id)
                    waiting.append((child.node_id, children[child.local_name]))
        return found
