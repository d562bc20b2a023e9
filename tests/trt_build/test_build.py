"""Engines built by the real TensorRT for RTX from graphs of small layers, and everything that can be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tfgraphopt.errors import ConfigError, EngineBuildFailed, MissingDependency
from tfgraphopt.ir import DType
from tfgraphopt_trt.build import BuildOptions, BuildResult, build_plan, names_in
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.emit import EmitError, Emitter, emit_network
from tfgraphopt_trt.profiles import InputRange, ValueRange
from tfgraphopt_trt.tensorrt_api import TensorRT, available, load
from trt_build.small_layers import F32, LAYERS, constant, conv, declare, dense, graph, one, typed

BATCH = ({0: InputRange((1, 4), (8, 4), (32, 4))},)
IMAGES = ({0: InputRange((1, 8, 8, 3), (2, 8, 8, 3), (4, 8, 8, 3))},)


@pytest.fixture(scope="module")
def tensorrt() -> TensorRT:
    return load()


def build(g, profiles=(), **options) -> BuildResult:
    return build_plan(g, LAYERS, profiles, BuildOptions(**options))


def test_a_dense_layer_with_an_unknown_batch_size_is_built() -> None:
    result = build(dense(), BATCH)
    assert len(result.plan) > 1000
    assert result.flavour == "tensorrt_rtx"
    assert result.layers == {"CONSTANT": 2, "MATRIX_MULTIPLY": 1, "ELEMENTWISE": 1, "ACTIVATION": 1}
    assert (result.ours_unknown, result.theirs_unknown) == (0, 0)
    assert not result.shape_inputs
    assert result.peak_bytes > 10e6
    assert result.activation_bytes is not None


def test_the_same_graph_gives_the_same_plan() -> None:
    assert build(dense(), BATCH).sha256 == build(dense(), BATCH).sha256
    assert build(dense(), BATCH).sha256 != build(dense(seed=5), BATCH).sha256


def test_the_weights_reach_the_plan() -> None:
    plan = build(dense(units=64), BATCH).plan
    kernel = dense(units=64).node("dense/kernel").attrs["value"].numpy()
    assert all(number.tobytes() in plan for number in kernel.ravel())  # TensorRT reorders them


def test_only_permutations_that_move_data_count_as_transposes() -> None:
    assert build(conv(), IMAGES).transposes == 2
    g = graph()
    x = g.add_input("x", typed(F32, None, 4, 1, 3))
    first = g.add("t.transpose", [x], {"perm": (0, 2, 1, 3)}).output  # moves an axis of size one
    g.set_outputs([g.add("t.transpose", [first], {"perm": (3, 0, 1, 2)}).output])
    assert build(g, ({0: InputRange.fixed((2, 4, 1, 3))},)).transposes == 1


def test_the_layer_table_tells_the_types_that_kernels_read_and_write() -> None:
    result = build(conv(), IMAGES, layer_table=True)
    convolution = [row for row in result.table if row.type == "correlation"]
    assert [(row.input_types, row.output_types) for row in convolution] == [(("Float",), ("Float",))]
    assert not build(conv(), IMAGES).table
    assert BuildResult.from_json(result.to_json(), result.plan) == result


def test_plans_for_other_gpus_differ_and_unknown_ones_are_refused() -> None:
    ampere, blackwell = (build(conv(), IMAGES, compute_capabilities=[c]).plan for c in ("8.6", "12.0"))
    assert ampere != blackwell
    with pytest.raises(ConfigError, match=r"no compute capability 9\.0[\s\S]*8\.6"):
        build(conv(), IMAGES, compute_capabilities=["9.0"])


def test_the_builder_keeps_to_the_workspace_it_is_given() -> None:
    assert build(conv(), IMAGES, workspace_bytes=1 << 30).plan
    with pytest.raises(EngineBuildFailed, match="within workspace limit") as caught:
        build(conv(), IMAGES, workspace_bytes=1 << 10)
    assert caught.value.hint == "raise max_workspace_size_bytes"
    many = ({0: InputRange((1, 8, 8, 3), (1 << 16, 8, 8, 3), (1 << 16, 8, 8, 3))},)
    with pytest.raises(EngineBuildFailed, match="OutOfMemory") as caught:
        build(conv(), many, workspace_bytes=1 << 25)
    assert "bounds all that an engine needs at its largest shapes" in caught.value.hint
    assert build(conv(), many, workspace_bytes=1 << 30).plan


def test_several_profiles() -> None:
    small, large = {0: InputRange((1, 4), (1, 4), (1, 4))}, {0: InputRange((2, 4), (64, 4), (256, 4))}
    assert build(dense(), (small, large)).plan != build(dense(), (small,)).plan


def test_an_output_that_is_an_input_or_returned_twice_is_copied(tensorrt: TensorRT) -> None:
    g = one("t.relu")
    y = g.outputs[0]
    g.set_outputs([y, g.inputs[0], y, constant(g, np.float32(3.0)), g.add("t.passing", [y]).output], list("abcde"))
    log = BuildLog()
    logger = make_logger(tensorrt.module, log)
    emitted = emit_network(g, LAYERS, tensorrt, tensorrt.module.Builder(logger), log)
    names = [emitted.network.get_output(i).name for i in range(emitted.network.num_outputs)]
    assert names == [f"TensorRTOutputPH_{i}" for i in range(5)] == list(emitted.outputs)
    assert emitted.network.get_input(0).name == "TensorRTInputPH_0"
    assert build(g, BATCH).layers["IDENTITY"] == 4


def test_layers_carry_the_names_and_origins_of_nodes(tensorrt: TensorRT) -> None:
    log = BuildLog()
    logger = make_logger(tensorrt.module, log)
    network = emit_network(dense(), LAYERS, tensorrt, tensorrt.module.Builder(logger), log).network
    layers = {network.get_layer(i).name: network.get_layer(i).metadata for i in range(network.num_layers)}
    assert layers["dense/MatMul"] == "dense/MatMul"
    assert "dense/kernel" in layers


@pytest.mark.parametrize("dims", [(), (3,), (0, 3), (2, 0)])
@pytest.mark.parametrize("dtype", [DType.FLOAT, DType.HALF, DType.BFLOAT16, DType.INT32, DType.INT64, DType.BOOL])
def test_constants_of_every_type_and_shape(dtype: DType, dims: tuple[int, ...]) -> None:
    g = graph()
    g.set_outputs([constant(g, np.ones(dims, dtype.np))])
    build(g)


def test_four_bit_weights_are_packed_two_to_a_byte(tensorrt: TensorRT) -> None:
    emitter = Emitter(tensorrt, None, BuildLog(), {})
    weights = emitter.as_weights(np.array([1, -1, 7], DType.INT4.np))
    assert weights.size == 3
    assert emitter._alive[1].tobytes() == bytes([0xF1, 0x07])


# -- shape tensors ---------------------------------------------------------------------------------------------------


def reshaping():
    g = graph()
    x = g.add_input("x", typed(F32, None, 6))
    shape = g.add_input("shape", typed(DType.INT64, 2))
    g.set_outputs([g.add("t.reshape", [x, shape], declare(typed(F32, None, None)), name="reshape").output])
    return g


def test_shape_tensors_are_recorded_and_need_values() -> None:
    rows = InputRange((2, 6), (4, 6), (8, 6))
    values = ValueRange((3, 4), (6, 4), (12, 4))
    result = build(reshaping(), ({0: rows, 1: InputRange((2,), (2,), (2,), values)},))
    assert result.shape_inputs == (1,)
    with pytest.raises(ConfigError, match=r"leaves inputs out[\s\S]*where: shape"):
        build(reshaping(), ({0: rows},))


def test_values_that_contradict_the_shapes_are_told_by_tensorrt() -> None:
    values = ValueRange((3, 4), (60, 4), (120, 4))
    with pytest.raises(EngineBuildFailed, match=r"(?s)where: reshape.*reshape would change volume"):
        build(reshaping(), ({0: InputRange((2, 6), (4, 6), (8, 6)), 1: InputRange((2,), (2,), (2,), values)},))


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_layer_without_an_implementation_names_the_users_node() -> None:
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    types = declare(typed(DType.INT32, 2, None))
    g.set_outputs([g.add("t.non_zero", [x], types, name="find", origin=["user/Where"]).output])
    with pytest.raises(EngineBuildFailed) as failed:
        build(g, BATCH)
    assert failed.value.where == ("user/Where",)
    assert "no runners" in failed.value.why
    assert "cudaError 35" not in str(failed.value)


def test_mixed_types_are_refused_at_the_node_in_tensorrts_words() -> None:
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    half = constant(g, np.ones((1, 4), np.float16))
    g.set_outputs([g.add("t.sum", [x, half], name="add", origin=["user/add"]).output])
    with pytest.raises(EmitError, match="Float and Half") as failed:
        build(g, BATCH)
    assert failed.value.where == ("user/add",)
    assert failed.value.node == "add"
    assert "f32[?,4], f16[1,4]" in str(failed.value)


@pytest.mark.parametrize("claim", [typed(F32, None, 5), typed(F32, 4), typed(DType.HALF, None, 4)])
def test_a_wrong_shape_rule_is_found(claim) -> None:
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    g.set_outputs([g.add("t.claim", [x], declare(claim), name="liar").output])
    with pytest.raises(EmitError, match=r"TensorRT infers f32\[\?,4\]") as failed:
        build(g, BATCH)
    assert failed.value.node == "liar"
    assert str(claim) in str(failed.value)


def test_what_only_one_side_knows_is_counted() -> None:
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    y = g.add("t.claim", [x], declare(typed(F32, None, None))).output
    g.set_outputs([g.add("t.claim", [y], declare(typed(F32, 7, 4))).output])
    result = build(g, ({0: InputRange.fixed((7, 4))},))
    assert (result.ours_unknown, result.theirs_unknown) == (1, 1)


def test_a_wrong_call_of_the_bindings_is_an_error_of_the_node() -> None:
    with pytest.raises(EmitError, match="TypeError") as failed:
        build(one("t.forgotten"), BATCH)
    assert failed.value.where == ("user/block/relu",)


def test_eight_bit_constants_are_for_dequantisation_only() -> None:
    g = graph()
    g.set_outputs([constant(g, np.ones(3, np.int8))])
    with pytest.raises(EngineBuildFailed, match="Quantized constant"):
        build(g)


def test_an_op_without_a_layer() -> None:
    g = one("t.relu")
    with pytest.raises(EmitError, match=r"no plugin defines layer 't\.relu'"):
        build_plan(g, {}, BATCH)


def test_types_that_tensorrt_does_not_have() -> None:
    g = graph()
    g.set_outputs([constant(g, np.ones(2, np.float64))])
    with pytest.raises(EmitError, match="no element type float64"):
        build(g)


@pytest.mark.parametrize(
    ("profiles", "text"),
    [
        ((), "no profile says their range"),
        (({},), "leaves inputs out"),
        (({0: InputRange((1, 5), (1, 5), (1, 5))},), r"\[1, 5\] is not a shape of f32\[\?,4\]"),
        (({0: InputRange((1,), (1,), (1,))},), "does not fit"),
        (({0: InputRange((1, 4), (1, 4), (1, 4)), 3: InputRange((1,), (1,), (1,))},), "has 1 inputs"),
    ],
)
def test_bad_profiles(profiles, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(dense(), profiles)


@pytest.mark.parametrize("dims", [((4, 4), (2, 4), (8, 4)), ((1, 4), (2, 4, 1), (8, 4)), ((-1, 4), (2, 4), (8, 4))])
def test_impossible_ranges(dims) -> None:
    with pytest.raises(ConfigError):
        InputRange(*dims)


# -- which TensorRT --------------------------------------------------------------------------------------------------


def test_what_is_available_is_told_with_reasons() -> None:
    found = {i.flavour: i for i in available()}
    assert found["tensorrt_rtx"].tensorrt is not None
    assert "libtensorrt_rtx.so" in found["tensorrt_rtx"].libraries[0]
    assert found["tensorrt"].tensorrt is not None or "no module tensorrt" in str(found["tensorrt"])


def test_a_flavour_that_is_not_installed_names_the_extra() -> None:
    if available()[0].tensorrt is not None:
        pytest.skip("the full TensorRT is installed here")
    with pytest.raises(MissingDependency, match=r"tfgraphopt\[rtx\]"):
        load("tensorrt")
    with pytest.raises(ConfigError, match="no TensorRT flavour 'tensorflow'"):
        load("tensorflow")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Error Code 4: [input] has no runners that implement it for data", "input"),
        ("IConvolutionLayer `block/conv`: `kernel` must be of same type as the data", "block/conv"),
        ("Could not find any implementation for node {ForeignNode[dense_1...]} and input data", "dense_1"),
        ("in layer user/relu: shape mismatch of input", "user/relu"),
        ("IShuffleLayer data: reshaping failed", "data"),
        ("something went wrong", None),
    ],
)
def test_layers_are_named_by_quotes_by_looks_or_else_by_words(text: str, named: str | None) -> None:
    names = ["input", "data", "block/conv", "dense_1", "user/relu"]
    assert names_in(text, names) == ([] if named is None else [named])
