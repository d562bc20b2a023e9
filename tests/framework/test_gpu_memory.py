"""The classic split of a GPU's memory: published numbers, and laws."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfgraphopt as tgo
from tfgraphopt.errors import ConfigError

GB = 10**9


def test_the_example_of_tf_trts_guide() -> None:
    """12 GB, 4 GB of them for TensorRT: 0.67, which is 8/12."""
    split = tgo.gpu_memory_split(12 * GB, 4 * GB)
    assert round(split.per_process_gpu_memory_fraction, 2) == 0.67
    assert "per_process_gpu_memory_fraction=0.6667" in split.advice[0]
    assert "max_workspace_size_bytes=4000000000" in split.advice[0]
    assert any("set_memory_growth" in line and "TF_FORCE_GPU_ALLOW_GROWTH" in line for line in split.advice)


@given(total=st.integers(1, 1 << 48), data=st.data())
def test_the_parts_are_the_whole(total: int, data: st.DataObject) -> None:
    workspace = data.draw(st.integers(0, total - 1))
    fraction = tgo.gpu_memory_split(total, workspace).per_process_gpu_memory_fraction
    assert fraction * total + workspace == pytest.approx(total)
    assert tf.compat.v1.GPUOptions(per_process_gpu_memory_fraction=fraction).per_process_gpu_memory_fraction == fraction


@pytest.mark.parametrize(("total", "workspace"), [(0, 0), (10, 10), (10, 11), (10, -1), (-1, 0)])
def test_impossible_numbers_are_refused(total: int, workspace: int) -> None:
    with pytest.raises(ConfigError, match=f"{workspace} bytes cannot be set aside of {total}"):
        tgo.gpu_memory_split(total, workspace)
