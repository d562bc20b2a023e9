"""ConvNeXt with one small block a stage: its functions and dense layers are part of one engine with one transpose."""

from __future__ import annotations

import keras
import numpy as np
from keras.src.applications.convnext import ConvNeXt
from main_job.jobs import in_session, lowered_errors

import tfgraphopt as tgo
import tfgraphopt.runtime
from zoo.frozen import freeze
from zoo.randomise import scatter


def test_one_engine_with_one_transpose() -> None:
    keras.utils.set_random_seed(0)
    model = ConvNeXt(
        [1, 1, 1, 1], [8, 12, 16, 24], default_size=64, weights=None, input_shape=(64, 64, 3), classes=10,
        weights_name="convnext_tiny",
    )  # fmt: skip
    scatter(model, 0)
    frozen = freeze(model, "SmallConvNeXt", outputs=("predictions",))
    assert any(n.op.endswith("PartitionedCall") for n in frozen.graph_def.node), "grouped convolutions are in functions"
    result = tgo.optimize_graph_def(frozen.graph_def, frozen.outputs, tgo.Config(max_batch_size=4))
    (segment,) = result.report.segments.values()
    assert segment.status == "built"
    assert segment.transposes == 1
    assert segment.layers["MATRIX_MULTIPLY"] == 1, "the head; dense layers of blocks are convolutions"
    assert segment.layers["NORMALIZATION"] >= 8
    stays = {v.op for v in result.report.verdicts.values() if v.status not in ("converted", "simplified")}
    assert stays <= {"Placeholder", "Identity"}
    feeds = {"input": np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)}
    assert max(lowered_errors(result, frozen.graph_def, feeds).values()) <= 1e-4
    for wanted, got in zip(
        in_session(frozen.graph_def, frozen.outputs, feeds, rewriting=False),
        in_session(result.graph_def, frozen.outputs, feeds, rewriting=False),
        strict=True,
    ):
        np.testing.assert_array_equal(got, wanted)
