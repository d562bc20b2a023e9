"""Packed graphs: unpack(pack(g)) is g, over generated graphs with attributes and constants of every kind."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.errors import GraphDefError
from tfgraphopt.ir import AttrPlaceholder, Body, DType, FuncRef, Graph, OpTable, Shape, Tensor, TensorType
from tfgraphopt.ir.pack import fingerprint, pack, unpack

DTYPES = [d for d in DType if d.has_numpy]
TYPES = st.builds(
    TensorType,
    st.sampled_from(list(DType)),
    st.builds(Shape, st.none() | st.lists(st.none() | st.integers(0, 2**40), max_size=4)),
)


@st.composite
def tensors(draw: Any) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    dims = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(dims))
    if dtype is DType.STRING:
        array = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=5) | st.text(max_size=5), min_size=count, max_size=count))
        return Tensor(dtype, Shape(dims), lambda: array.reshape(dims))
    seed = draw(st.integers(0, 9))
    array = np.random.default_rng(seed).integers(-8, 8, dims).astype(dtype.np)
    return Tensor(dtype, Shape(dims), lambda: array).transpose(range(len(dims))[::-1])


@st.composite
def bodies(draw: Any) -> Body:
    graph = Graph(draw(st.text(max_size=3)), OpTable(), "trt")
    made = graph.add("trt.b", [graph.add_input("x", draw(TYPES))], {"value": draw(tensors())}, types=[draw(TYPES)])
    graph.set_outputs(made.outputs)
    return Body(graph)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
    | st.sampled_from(list(DType)) | TYPES.map(lambda t: t.shape) | tensors()
    | st.builds(AttrPlaceholder, st.text(max_size=3)) | bodies()
    | st.builds(FuncRef, st.text(max_size=3), st.just((("T", DType.HALF), ("k", (1, 2.5)))))
)  # fmt: skip
ATTRS = st.dictionaries(
    st.text(max_size=4), st.recursive(LEAVES, lambda v: st.lists(v, max_size=3).map(tuple), max_leaves=4), max_size=3
)


@st.composite
def graphs(draw: Any) -> Graph:
    g = Graph(draw(st.text(max_size=5)), OpTable(), "trt")
    g.attrs.update(draw(ATTRS))
    values = [g.add_input(draw(st.text(max_size=3)), draw(TYPES)) for _ in range(draw(st.integers(0, 3)))]
    nodes: list[Any] = []
    for _ in range(draw(st.integers(0, 5))):
        node = g.add(
            draw(st.sampled_from(["trt.a", "trt.b"])),
            draw(st.lists(st.sampled_from(values), max_size=3)) if values else [],
            draw(ATTRS),
            name=draw(st.none() | st.text(max_size=3)),
            control=draw(st.lists(st.sampled_from(nodes), max_size=2)) if nodes else [],
            device=draw(st.sampled_from(["", "/gpu:0"])),
            origin=draw(st.lists(st.text(max_size=3), max_size=2)),
            types=draw(st.lists(TYPES, max_size=2)),
        )
        nodes.append(node)
        values += node.outputs
    g.set_outputs(draw(st.lists(st.sampled_from(values), max_size=3)) if values else [])
    kept = draw(st.lists(st.sampled_from(nodes), max_size=2)) if nodes else []
    g.set_keep({f"keep{i}": node for i, node in enumerate(kept)})
    return g


def described(g: Graph) -> dict[str, Any]:
    """All that a graph is, as plain data compared by ``==`` (NaN equals NaN: floats by their text)."""
    return {
        "name": (g.name, g.dialect),
        "attrs": plain(g.attrs),
        "inputs": [(v.name, v.type) for v in g.inputs],
        "nodes": [
            (n.op, n.name, [v.name for v in n.inputs], [c.name for c in n.control], plain(n.attrs), n.device, n.origin,
             [v.type for v in n.outputs])
            for n in g
        ],
        "outputs": [(v.name, v.producer is None) for v in g.outputs],
        "names": g.output_names,
        "keep": [(k, n.name) for k, n in g.keep.items()],
    }  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (str(value.type), value.numpy().tolist() if value.dtype is DType.STRING else value.numpy().tobytes())
    if isinstance(value, tuple):
        return tuple(plain(v) for v in value)
    if hasattr(value, "items"):
        return {k: plain(v) for k, v in value.items()}
    return (type(value), repr(value) if isinstance(value, float) else value)


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_unpacking_gives_the_packed_graph(g: Graph) -> None:
    data = pack(g)
    again = unpack(data, OpTable())
    assert described(again) == described(g)
    assert fingerprint(again) == fingerprint(g)
    assert described(unpack(pack(again), OpTable())) == described(g)


def weighted(array: Any) -> Graph:
    g = Graph("g", OpTable())
    g.set_outputs([g.add("trt.constant", [], {"value": Tensor.of(array)}, types=[Tensor.of(array).type]).output])
    return g


def test_constants_are_not_copied_when_read() -> None:
    data = pack(weighted(np.arange(1000.0)))
    tensor = unpack(data, OpTable()).outputs[0].producer.attrs["value"]  # type: ignore[union-attr]
    assert np.shares_memory(tensor.numpy(), np.frombuffer(data, np.uint8))


def test_a_tensor_used_twice_is_written_once() -> None:
    shared = Tensor.of(np.zeros(10_000))
    g = Graph("g", OpTable())
    for _ in range(3):
        g.add("trt.constant", [], {"value": shared}, types=[shared.type])
    assert 80_000 < len(pack(g)) < 90_000


def test_the_fingerprint_sees_weights_types_and_structure() -> None:
    prints = [fingerprint(weighted(a)) for a in (np.ones(2), np.ones(2), np.zeros(2), np.ones(2, np.float32))]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert fingerprint(weighted(np.ones(3, ml_dtypes.bfloat16))) != fingerprint(weighted(np.ones(3, np.float16)))


def test_damaged_bytes_are_refused() -> None:
    data = pack(weighted(np.ones(100)))
    for damaged, text in [
        (b"", "not a packed graph"),
        (b"nope" + data[4:], "not a packed graph"),
        (data[:4] + b"\x09" + data[5:], "version 9"),
        (data[:60], "cut short"),
        (data[:-100], "cut short"),
    ]:
        with pytest.raises(GraphDefError, match=text):
            unpack(damaged, OpTable())


def test_attributes_that_the_ir_does_not_know_are_named() -> None:
    g = Graph("g", OpTable())
    g.add("trt.a", [], {"axes": [1, 2]}, name="n", types=[])  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="attribute 'axes' of 'n'"):
        pack(g)
