"""From a lowered graph to a TensorRT network, whose own shape and type inference must agree with ours at every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import ml_dtypes
import numpy as np

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import DType, Graph, Node, Shape, Tensor, TensorType, Value, constant_of
from tfgraphopt.ir.core import CONSTANT_OPS
from tfgraphopt.ir.names import Names
from tfgraphopt.ir.tensor import Array
from tfgraphopt_trt.build_log import BuildLog
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.tensorrt_api import TensorRT

INPUT_NAME = "TensorRTInputPH_{}"
OUTPUT_NAME = "TensorRTOutputPH_{}"

DTYPE_NAMES: Mapping[DType, str] = {
    DType.FLOAT: "FLOAT",
    DType.HALF: "HALF",
    DType.BFLOAT16: "BF16",
    DType.INT8: "INT8",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
    DType.BOOL: "BOOL",
    DType.UINT8: "UINT8",
    DType.FLOAT8_E4M3FN: "FP8",
    DType.INT4: "INT4",
}
_BY_POINTER = frozenset({DType.BFLOAT16, DType.FLOAT8_E4M3FN, DType.INT4})
"""Types that the bindings cannot take from a numpy array."""


class EmitError(EngineBuildFailed):
    """TensorRT refused a layer, or inferred another type than we did; ``node`` is the lowered node at fault."""

    def __init__(self, what: str, *, where: Sequence[str] = (), why: str = "", hint: str = "", node: str = "") -> None:
        self.node = node
        super().__init__(what, where=where, why=why, hint=hint)


@attrs.frozen(slots=True)
class EmittedNetwork:
    """A network that agrees with the graph it came from.

    Attributes:
        network: the INetworkDefinition.
        inputs: the network's input names, by the index of the graph's input.
        outputs: the network's output names, by the index of the graph's output.
        shape_inputs: the graph inputs that TensorRT reads as shape tensors (their values must be in every profile).
        nodes: the lowered node behind each layer name.
        ours_unknown: dimensions that TensorRT knew and our inference did not.
        theirs_unknown: dimensions that our inference knew and TensorRT did not.
        emitter: keeps the weights alive; hold it until the build is over.
    """

    network: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape_inputs: tuple[int, ...]
    nodes: Mapping[str, Node]
    ours_unknown: int
    theirs_unknown: int
    emitter: Emitter = attrs.field(repr=False)


@attrs.define(slots=True)
class Agreement:
    """Compares TensorRT's inference with ours and counts what only one of them knew."""

    ours_unknown: int = 0
    theirs_unknown: int = 0

    def check(self, node: Node, value: Value, theirs: TensorType) -> None:
        ours = value.type
        if ours.dtype is not theirs.dtype or ours.rank != theirs.rank or not ours.shape.compatible(theirs.shape):
            raise EmitError(
                f"{node.op} {node.name!r}: TensorRT infers {theirs} for %{value.name}, the layer's shape rule {ours}",
                where=node.origin or (node.name,),
                why="operands: " + ", ".join(str(v.type) for v in node.inputs),
                hint="the rule or the emit function of the layer is wrong",
                node=node.name,
            )
        for mine, other in zip(ours.shape, theirs.shape, strict=True):
            self.ours_unknown += mine is None and other is not None
            self.theirs_unknown += mine is not None and other is None


class Emitter:
    """What a layer's ``emit`` writes to a network with.

    Attributes:
        trt: the bindings module.
        network: the INetworkDefinition; pass each layer that it gives to :meth:`add`.
    """

    def __init__(self, tensorrt: TensorRT, network: Any, log: BuildLog, layers: Mapping[str, LayerDef]) -> None:
        self.trt = tensorrt.module
        self.network = network
        self.agreement = Agreement()
        self._layers = layers
        self.layer_nodes: dict[str, Node] = {}
        self._log = log
        self._tensors: dict[Value, Any] = {}
        self._alive: list[Any] = []
        self._names = Names()
        self._node: Node | None = None
        self._seen = 0

    # -- for layers --------------------------------------------------------------------------------------------------

    def tensor(self, value: Value) -> Any:
        """The ITensor of ``value``; a constant enters the network when it is first asked for."""
        if value not in self._tensors:
            constant = constant_of(value)
            if constant is None or value.producer is None:
                raise EmitError(f"%{value.name} is read before it is computed", node=value.name)
            with self._at(value.producer):
                self._tensors[value] = self._constant(constant)
        return self._tensors[value]

    def weights(self, value: Value) -> Array | None:
        """The elements behind a constant, contiguous (a scalar stays 0-d), alive until the build is over; else None."""
        tensor = constant_of(value)
        return None if tensor is None else self._hold(np.asarray(tensor.numpy(), order="C"))

    def as_weights(self, array: Array) -> Any:
        """``array`` as ``add_*`` methods take weights: itself, or a ``trt.Weights`` for types that numpy lacks."""
        dtype = DType.of_numpy(array.dtype)
        array = self._hold(np.asarray(array, order="C"))
        if dtype not in _BY_POINTER:
            return array
        packed = self._hold(_packed(array)) if dtype is DType.INT4 else array
        return self._hold(self.trt.Weights(self.dtype(dtype), packed.ctypes.data, array.size))

    def dtype(self, dtype: DType) -> Any:
        """TensorRT's ``DataType`` for ours; EmitError when it has none."""
        name = DTYPE_NAMES.get(dtype)
        if name is None or not hasattr(self.trt.DataType, name):
            raise self._error(f"TensorRT has no element type {dtype.tf_name}")
        return getattr(self.trt.DataType, name)

    def dims(self, dims: Sequence[int]) -> Any:
        """A ``trt.Dims``."""
        return self.trt.Dims([int(d) for d in dims])

    def add(self, layer: Any) -> Any:
        """Name ``layer`` after the node, note its origin, and let TensorRT validate it now; returns it.

        Raises:
            EmitError: TensorRT refused the layer; its own words are in ``why``.
        """
        if layer is None:
            raise self._error("TensorRT refused a layer")
        node = self._current()
        layer.name = name = self._names.unique(node.name)
        layer.metadata = ";".join(node.origin)
        self.layer_nodes[name] = node
        for index in range(layer.num_outputs):
            output = layer.get_output(index)
            self._dims_of(output)
            output.name = f"{name}:{index}"
        return layer

    def body(self, graph: Graph, operands: Sequence[Any]) -> list[Any]:
        """Emit the layers of ``graph``, a body that a node owns, for the ITensors ``operands``; its results."""
        for value, tensor in zip(graph.inputs, operands, strict=True):
            self.bind(value, tensor)
        self.emit_all(graph)
        return [self.tensor(v) for v in graph.outputs]

    # -- for emit_network --------------------------------------------------------------------------------------------

    def bind(self, value: Value, tensor: Any) -> None:
        """Let readers of ``value`` read ``tensor``."""
        self._tensors[value] = tensor

    def emit_all(self, graph: Graph) -> None:
        """Emit the nodes of ``graph``, each checked against TensorRT's own inference."""
        for node in graph:
            if node.op not in CONSTANT_OPS:
                self._emit_checked(node)

    def _emit_checked(self, node: Node) -> None:
        layer = self._layers.get(node.op)
        if layer is None:
            raise EmitError(f"no plugin defines layer {node.op!r}", where=node.origin or (node.name,), node=node.name)
        tensors = self.emit(node, layer)
        if len(tensors) != len(node.outputs):
            raise EmitError(f"{node.op} gave {len(tensors)} tensors for {len(node.outputs)} results", node=node.name)
        for value, tensor in zip(node.outputs, tensors, strict=True):
            self.agreement.check(node, value, self.type_of(tensor))
            self.bind(value, tensor)

    def emit(self, node: Node, layer: LayerDef) -> Sequence[Any]:
        """The ITensors of the results of ``node``; whatever goes wrong is an EmitError that names the node."""
        with self._at(node):
            try:
                return layer.emit(self, node)
            except EmitError:
                raise
            except LayerError as error:
                raise self._error(str(error)) from error
            except (TypeError, RuntimeError, ValueError, AttributeError, AssertionError) as error:
                raise self._error(f"{type(error).__name__}: {error}") from error

    def type_of(self, tensor: Any) -> TensorType:
        """Element type and shape of an ITensor in our terms."""
        theirs = tensor.dtype
        dtype = next(d for d, name in DTYPE_NAMES.items() if getattr(self.trt.DataType, name, None) == theirs)
        return TensorType(dtype, Shape(self._dims_of(tensor)))

    def identity(self, value: Value) -> Any:
        """A copy of ``value`` by an identity layer."""
        return self.add(self.network.add_identity(self.tensor(value))).get_output(0)

    @contextmanager
    def _at(self, node: Node | None) -> Iterator[None]:
        outer, self._node = self._node, node
        self._seen = len(self._log.messages)
        try:
            yield
        finally:
            self._node = outer

    def _current(self) -> Node:
        assert self._node is not None, "layers are added while a node is emitted"
        return self._node

    def _dims_of(self, tensor: Any) -> tuple[int, ...]:
        """The dimensions; TensorRT validates a layer only when they are read."""
        try:
            return tuple(tensor.shape)
        except (RuntimeError, ValueError) as error:
            raise self._error("TensorRT refused the layer") from error

    def _error(self, what: str) -> EmitError:
        said = " ".join(self._log.errors(since=self._seen))
        node = self._node
        if node is None:
            return EmitError(what, why=said)
        operands = ", ".join(str(v.type) for v in node.inputs)
        text = f"{what} at {node.op} {node.name!r} ({operands})"
        return EmitError(text, where=node.origin or (node.name,), why=said, node=node.name)

    def _hold(self, thing: Any) -> Any:
        self._alive.append(thing)
        return thing

    def _constant(self, tensor: Tensor) -> Any:
        dims = tensor.shape.static()
        array = np.asarray(tensor.numpy(), order="C")
        if array.size == 0:
            return self._empty_constant(dims, array.dtype)
        return self.add(self.network.add_constant(self.dims(dims), self._checked_weights(array))).get_output(0)

    def _checked_weights(self, array: Array) -> Any:
        self.dtype(DType.of_numpy(array.dtype))
        return self.as_weights(array)

    def _empty_constant(self, dims: Sequence[int], dtype: np.dtype[Any]) -> Any:
        """TensorRT refuses a constant without elements but takes an empty slice of one that has some."""
        full = np.zeros([max(d, 1) for d in dims], dtype)
        some = self.add(self.network.add_constant(self.dims(full.shape), self._checked_weights(full))).get_output(0)
        start, stride = self.dims([0] * len(dims)), self.dims([1] * len(dims))
        return self.add(self.network.add_slice(some, start, self.dims(dims), stride)).get_output(0)


def _packed(array: Array) -> Array:
    """4-bit integers two to a byte, the first in the low half."""
    flat = array.reshape(-1).astype(np.int8).view(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return flat[0::2] | (flat[1::2] << 4)


assert np.dtype(ml_dtypes.int4).itemsize == 1, "ml_dtypes stores one 4-bit integer a byte"


def emit_network(
    graph: Graph, layers: Mapping[str, LayerDef], tensorrt: TensorRT, builder: Any, log: BuildLog
) -> EmittedNetwork:
    """A strongly typed network that computes ``graph``.

    Inputs are called ``TensorRTInputPH_n`` and outputs ``TensorRTOutputPH_n``, as TF-TRT's users know them.

    Args:
        graph: a body of ``trt.*`` nodes.
        layers: the layer definitions by op.
        tensorrt: the TensorRT that ``builder`` is of.
        builder: an IBuilder whose logger records into ``log``.
        log: read for TensorRT's own words when it refuses something.

    Raises:
        EmitError: an op has no layer, TensorRT refuses one, or it infers another type or shape than our rule did.
    """
    trt = tensorrt.module
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    network.name = graph.name
    emitter = Emitter(tensorrt, network, log, layers)
    inputs = [_add_input(emitter, i, v) for i, v in enumerate(graph.inputs)]
    emitter.emit_all(graph)
    outputs = _mark_outputs(emitter, graph)
    shaping = tuple(i for i, t in enumerate(inputs) if t.is_shape_tensor)
    return EmittedNetwork(
        network, tuple(t.name for t in inputs), outputs, shaping, emitter.layer_nodes, emitter.agreement.ours_unknown,
        emitter.agreement.theirs_unknown, emitter,
    )  # fmt: skip


def _add_input(emitter: Emitter, index: int, value: Value) -> Any:
    if value.shape.rank is None:
        raise EmitError(f"the rank of input %{value.name} is unknown", node=value.name)
    dims = [-1 if d is None else d for d in value.shape]
    tensor = emitter.network.add_input(INPUT_NAME.format(index), emitter.dtype(value.dtype), emitter.dims(dims))
    if tensor is None:
        raise EmitError(f"TensorRT refused input %{value.name}, a {value.type}", why=" ".join(emitter._log.errors()))
    emitter.bind(value, tensor)
    return tensor


def _mark_outputs(emitter: Emitter, graph: Graph) -> tuple[str, ...]:
    """Name and mark the outputs; what is an input, a constant or already an output is copied first."""
    taken = {INPUT_NAME.format(i) for i in range(len(graph.inputs))}
    for index, value in enumerate(graph.outputs):
        tensor = emitter.tensor(value)
        if constant_of(value) is not None or tensor.name in taken:
            tensor = _copied(emitter, graph, index, value)
        tensor.name = OUTPUT_NAME.format(index)
        taken.add(tensor.name)
        emitter.network.mark_output(tensor)
    return tuple(OUTPUT_NAME.format(i) for i in range(len(graph.outputs)))


def _copied(emitter: Emitter, graph: Graph, index: int, value: Value) -> Any:
    """A copy of an output, by a layer that is named after the output."""
    scratch = Graph("copy", graph.ops, graph.dialect)
    origin = value.producer.origin if value.producer is not None else (value.name,)
    node = scratch.add("copy", [], name=f"{value.name}/output_{index}", origin=origin, types=[])
    with emitter._at(node):
        return emitter.identity(value)
