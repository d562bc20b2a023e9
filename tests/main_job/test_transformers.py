"""Transformers as KerasHub builds them: one engine each, sequences of any length, right in every layer, TensorRT's own layers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from main_job.jobs import in_session, lowered_errors

import tfgraphopt as tgo
import tfgraphopt.runtime
from zoo import transformers
from zoo.frozen import FrozenModel

EXPECTED = {
    "BERT": {"NORMALIZATION": 5},
    "GPT2": {"NORMALIZATION": 5},
    "ViT": {"NORMALIZATION": 5, "ATTENTION_INPUT": 2, "CONVOLUTION": 1},
    "T5Encoder": {"SOFTMAX": 2},
}
"""Layers of TensorRT that the networks must have (of two blocks each); attention where there is no mask."""


def ranges(model: FrozenModel) -> dict[str, tgo.ShapeRange]:
    """Batches of 1 to 4 and sequences of 1 to 24."""
    if model.name == "ViT":
        return {}
    return {node.name: tgo.ShapeRange((1, 1), (2, 10), (4, 24)) for node in model.inputs}


@pytest.mark.parametrize("name", transformers.NAMES)
def test_one_engine(name: str) -> None:
    model = transformers.build(name)
    config = tgo.Config(max_batch_size=4, input_shapes=ranges(model))
    result = tgo.optimize_graph_def(model.graph_def, model.outputs, config)
    (segment,) = result.report.segments.values()
    assert segment.status == "built"
    stays = [v for v in result.report.verdicts.values() if v.status not in ("converted", "simplified")]
    assert {v.op for v in stays} <= {"Placeholder", "Identity"}
    layers = Counter(segment.layers)
    assert {k: layers[k] for k in EXPECTED[name]} == EXPECTED[name]
    assert layers["REDUCE"] <= 8, "what is no normalisation layer would be reductions"

    feeds = transformers.feeds(model)
    assert max(lowered_errors(result, model.graph_def, feeds).values()) <= 1e-4
    plain = [in_session(g, model.outputs, feeds, rewriting=False) for g in (model.graph_def, result.graph_def)]
    for wanted, got in zip(*plain, strict=True):
        np.testing.assert_array_equal(got, wanted)
