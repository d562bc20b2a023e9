"""cuDNN's recurrent networks against Keras' own CPU layers, and against what cuDNN gave on a GPU.

No kernel of CudnnRNN runs without a GPU. ``data/cudnn_h100.npz`` holds what TensorFlow 2.21 and cuDNN 9 computed on an H100, TF32 off;
``tests/gpu/test_cudnn.py`` compares the same networks with the cuDNN at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.building import record
from converters.cudnn_networks import BATCH, NETWORKS, RECORDED, TIME, UNITS, Network, computed, converted, numbers
from converters.harness import Const, assert_close, case, refused, run_layers

RECORDING = Path(__file__).with_name("data") / "cudnn_h100.npz"


def check(
    network: Network,
    op: str,
    tolerance: float | None = None,
    *,
    time_major: bool = True,
    build: bool = False,
    **told: Any,
) -> None:
    """The layers of ``op`` mean what Keras computes; they are built by TensorRT where ``build`` says so."""
    one = network.case(op, time_major=time_major, **told)
    fragment = converted(one)
    arrays = one.operand_arrays(fragment)
    for got, want in zip(run_layers(fragment, arrays), network.expected(time_major=time_major), strict=True):
        assert_close(got, want.astype(got.dtype), tolerance, tolerance)
    record(one.node, fragment, arrays, build=build)


@pytest.mark.parametrize("name", NETWORKS)
def test_meaning_is_what_keras_computes(name: str) -> None:
    network, told, tolerance = NETWORKS[name]
    check(network, "CudnnRNNV3", tolerance, build=name in BUILT, **told)


@pytest.mark.parametrize("name", RECORDED)
def test_meaning_is_what_cudnn_computed(name: str) -> None:
    network, told, tolerance = RECORDED[name]
    with np.load(RECORDING) as recorded:
        for i, got in enumerate(computed(network.case("CudnnRNNV3", **told))):
            assert_close(got, recorded[f"{name}|{i}"].astype(got.dtype), tolerance, tolerance)


BUILT = ("lstm", "rnn_tanh", "lengths, two directions", "weights of run time", "half", "bfloat16")


OLDER = [("CudnnRNN", "gru"), ("CudnnRNN", "rnn_relu"), ("CudnnRNNV2", "lstm"), ("CudnnRNNV2", "rnn_tanh")]


@pytest.mark.parametrize(("op", "mode"), OLDER)
def test_older_ops(op: str, mode: str) -> None:
    check(Network(mode, layers=2), op, build=mode.startswith("rnn"), unknown={"input": [0, 1], "input_h": [1]})


def test_all_lengths_known_to_be_whole_cost_nothing() -> None:
    fragment = Network("lstm").case("CudnnRNNV3", unknown={"input": [1], "input_h": [1], "input_c": [1]}).convert()
    loops = [n for n in fragment.graph if n.op == "trt.loop"]
    assert [n.attrs["iterated"] for n in loops] == [1]


def given(network: Network, **others: Any) -> dict[str, Any]:
    """The operands of CudnnRNNV2."""
    states = [*network.states, np.zeros((), np.float32)][:2]
    found = dict(zip(("input", "input_h", "input_c"), [np.swapaxes(network.x, 0, 1), *states], strict=True))
    return {**found, "params": Const(network.block()), **others}


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], Any]] = {
    "of random numbers": ("drops out at random", given(Network("gru", layers=2)), {"rnn_mode": "gru", "dropout": 0.5}, "none"),
    "another size": ("has 143 elements; 1 layers have 144", given(Network("lstm"), params=Const(numbers(143))), {}, "none"),
    "skipped input": ("takes 3 inputs as they are for 4 units", given(Network("lstm")), {"input_mode": "skip_input"}, "none"),
    "unknown units": ("number of units", given(Network("lstm")), {}, "all"),
    "unknown layers": (
        "neither the number of its layers", given(Network("lstm"), params=Network("lstm").block()), {},
        {"input_h": [0], "params": [0]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    words, operands, told, unknown = REFUSED[name]
    assert words in refused("CudnnRNNV2", operands, told, unknown=unknown, outputs=(0, 1))


def test_projections_are_refused() -> None:
    operands = given(Network("lstm"), sequence_lengths=Const(np.full(BATCH, TIME, np.int32)))
    assert "projects its hidden state" in refused("CudnnRNNV3", operands, {"num_proj": UNITS}, outputs=(0, 1))


@pytest.mark.parametrize(("layers", "told"), [(1, {"dropout": 0.5}), (2, {"dropout": 0.5, "is_training": False})])
def test_dropout_that_does_nothing_is_left_out(layers: int, told: dict[str, Any]) -> None:
    convert(given(Network("gru", layers=layers)), **told)


def test_input_is_skipped_where_tensorflow_would_choose_so() -> None:
    convert(given(Network("gru", inputs=UNITS, skip=True)), input_mode="auto_select")
    convert(given(Network("gru")), input_mode="auto_select")


def convert(operands: dict[str, Any], **told: Any) -> None:
    """A GRU, of which nothing reads what is reserved for gradients."""
    case("CudnnRNNV2", operands, {"rnn_mode": "gru", **told}, outputs=(0, 1)).convert()


def test_what_gradients_need_keeps_it_in_tensorflow() -> None:
    assert "the rank of" in refused("CudnnRNNV2", given(Network("gru")), {"rnn_mode": "gru"}, outputs=(0, 3))
