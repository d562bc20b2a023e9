"""Normalisations against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, case, check, run_layers
from converters.tensors import Array, moderate, normal, seeds


def statistics(channels: int, seed: int, constant: bool) -> list[Const | Array]:
    """Scale, offset, mean and variance."""
    vectors = [normal([channels], "float32", seed + i) for i in range(3)] + [
        np.abs(normal([channels], "float32", seed + 3))
    ]
    return [Const(v) if constant else v for v in vectors]


@moderate
@given(
    st.sampled_from([("FusedBatchNorm", "float32"), ("FusedBatchNormV2", "float16"), ("FusedBatchNormV3", "float32"),
                     ("FusedBatchNormV3", "float16"), ("FusedBatchNormV3", "bfloat16")]),
    st.booleans(), st.booleans(), st.floats(1e-5, 0.1), seeds,
)  # fmt: skip
def test_batch_norm(op: tuple[str, str], constant: bool, first: bool, epsilon: float, seed: int) -> None:
    """Element types, layouts, statistics known or not; the other results are undefined."""
    x = normal([2, 3, 5, 4], op[1], seed)
    given_ = [x, *statistics(3 if first else 4, seed, constant)]
    told = {"is_training": False, "epsilon": epsilon, "data_format": "NCHW" if first else "NHWC"}
    check(op[0], given_, told, unknown={"x": [0, 2]}, outputs=[0], atol=4e-2 if op[1] == "bfloat16" else None)


def test_batch_norm_3d() -> None:
    """Five dimensions."""
    given_ = [normal([2, 3, 2, 3, 4]), *statistics(4, 1, True)]
    check("FusedBatchNormV3", given_, {"is_training": False, "data_format": "NDHWC"}, unknown={"x": [0]}, outputs=[0])


@pytest.mark.parametrize("mode", ["Identity", "Relu"])
@pytest.mark.parametrize("sides", [0, 1])
def test_fused_batch_norm(mode: str, sides: int) -> None:
    """Grappler's form, which TensorFlow runs on a GPU only, so here the parts are the oracle."""
    x, side = normal([2, 3, 4, 4]), normal([2, 3, 4, 4], seed=5)
    names = ["x", "scale", "offset", "mean", "variance"]
    given_ = dict(zip(names, [x, *statistics(4, 2, True)], strict=True))
    plain = case("FusedBatchNormV3", given_, {"is_training": False}, outputs=[0]).expected()[0] + side * sides
    told = {"is_training": False, "activation_mode": mode}
    fused = case("_FusedBatchNormEx", given_ | {"side_input": [side] * sides}, told, unknown={"x": [0]}, outputs=[0])
    fragment = fused.convert()
    got = run_layers(fragment, fused.operand_arrays(fragment))[0]
    np.testing.assert_allclose(got, np.maximum(plain, 0) if mode == "Relu" else plain, rtol=1e-5, atol=1e-5)


@moderate
@given(st.integers(0, 12), st.floats(0.5, 4), st.floats(1e-3, 2), st.floats(0.1, 2), seeds)
def test_lrn(radius: int, bias: float, alpha: float, beta: float, seed: int) -> None:
    """Every window that TensorRT has, and larger ones."""
    told = {"depth_radius": radius, "bias": bias, "alpha": alpha, "beta": beta}
    check("LRN", [normal([2, 3, 2, 9], "float32", seed)], told, unknown=[0, 1, 2], rtol=1e-4)


@moderate
@given(
    st.sampled_from([("FusedBatchNorm", "float32"), ("FusedBatchNormV3", "float32"), ("FusedBatchNormV3", "float16")]),
    st.booleans(), st.sampled_from([1.0, 0.25]), st.sampled_from(["all", "none"]), seeds,
)  # fmt: skip
def test_batch_norm_by_the_statistics_of_the_batch(
    op: tuple[str, str], first: bool, factor: float, unknown: str, seed: int
) -> None:
    """Training mode: the result, the new running mean and the new running variance."""
    x = normal([2, 3, 5, 4], op[1], seed)
    channels = 3 if first else 4
    old = statistics(channels, seed, True)
    given_ = [x, *old[:2], *(old[2:] if factor < 1 else [Const(np.zeros(0, np.float32))] * 2)]
    told = {"is_training": True, "data_format": "NCHW" if first else "NHWC", "exponential_avg_factor": factor}
    axes = [0, 2] if unknown == "all" else []
    check(
        op[0],
        given_,
        told,
        unknown={"x": axes},
        outputs=[0, 1, 2],
        rtol=1e-4,
        atol=8e-3 if op[1] == "float16" else 1e-5,
    )


def test_builds() -> None:
    """The real builder takes them."""
    x = normal([2, 5, 4, 4])
    none = Const(np.zeros(0, np.float32))
    training = [x, *statistics(4, 0, True)[:2], none, none]
    told = {"is_training": True}
    check("FusedBatchNormV3", training, told, unknown={"x": [0, 1]}, outputs=[0, 1, 2], build=True)
    check("LRN", [normal([2, 3, 2, 30])], {"depth_radius": 9}, unknown=[0, 1, 2], build=True)
    for constant in (True, False):
        told = {"is_training": False}
        check(
            "FusedBatchNormV3", [x, *statistics(4, 0, constant)], told, unknown={"x": [0, 1]}, outputs=[0], build=True
        )
    half = x.astype(np.float16)
    check("FusedBatchNormV3", [half, *statistics(4, 0, True)], {"is_training": False}, outputs=[0], build=True)
    check("LRN", [x], unknown=[0], build=True)
