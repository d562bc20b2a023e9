"""The layers that become of a CudnnRNN mean what cuDNN computes."""

from __future__ import annotations

import pytest
from converters.cudnn_networks import NETWORKS
from converters.harness import assert_close, run_layers

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", NETWORKS)
def test_cudnn_computes_what_the_layers_mean(name: str) -> None:
    network, told, tolerance = NETWORKS[name]
    one = network.case("CudnnRNNV3", **told)
    fragment = one.convert()
    fragment.graph.set_outputs([fragment.graph.outputs[i] for i in one.outputs])
    found = run_layers(fragment, one.operand_arrays(fragment))
    for got, want in zip(found, one.expected(), strict=True):
        assert_close(got, want, tolerance or 1e-4, tolerance or 1e-4)
