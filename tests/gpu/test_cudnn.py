"""The layers that become of a CudnnRNN mean what cuDNN computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tensorflow as tf
from converters.cudnn_networks import RECORDED, computed
from converters.harness import assert_close

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Without TF32, which cuDNN uses where TensorFlow lets it."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.parametrize("name", RECORDED)
def test_cudnn_computes_what_the_layers_mean(name: str) -> None:
    network, told, tolerance = RECORDED[name]
    one = network.case("CudnnRNNV3", **told)
    for got, want in zip(computed(one), one.expected(), strict=True):
        assert_close(got, want, tolerance or 1e-4, tolerance or 1e-4)
