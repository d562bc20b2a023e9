"""Non-maximum suppression (meaning and shape inference; TensorRT for RTX has no kernels of it) and sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.harness import Const, check, refused
from converters.tensors import few, mixed, moderate
from converters.values import arrays

N = st.integers(1, 8)


def boxes_and_scores(n, seed):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 1, (n, 2)), rng.uniform(0.1, 0.6, (n, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float32), rng.permutation(n).astype(np.float32) / n


def limits(most=4, iou=0.3, least=0.2):
    return {
        "max_output_size": Const(most),
        "iou_threshold": Const(np.float32(iou)),
        "score_threshold": Const(np.float32(least)),
    }


@few
@given(
    n=N,
    seed=st.integers(0, 99),
    most=st.integers(1, 5),
    iou=st.floats(0.1, 0.9),
    pad=st.booleans(),
    unknown=st.sampled_from(["all", "none"]),
)
def test_non_max_suppression(n, seed, most, iou, pad, unknown):
    boxes, scores = boxes_and_scores(n, seed)
    wanted = {"boxes": boxes, "scores": scores, **limits(most, iou)}
    check("NonMaxSuppressionV3", wanted, unknown=unknown)
    check("NonMaxSuppressionV4", wanted, {"pad_to_max_output_size": pad}, unknown=unknown)
    without = {k: v for k, v in wanted.items() if k != "score_threshold"}
    check("NonMaxSuppressionV2", without, unknown=unknown)
    check(
        "NonMaxSuppression",
        {k: v for k, v in without.items() if k != "iou_threshold"},
        {"iou_threshold": iou},
        unknown=unknown,
    )
    hard = {**wanted, "soft_nms_sigma": Const(np.float32(0))}
    check("NonMaxSuppressionV5", hard, {"pad_to_max_output_size": pad}, unknown=unknown)


def test_soft_suppression_and_overlaps_are_refused():
    boxes, scores = boxes_and_scores(4, 0)
    soft = {"boxes": boxes, "scores": scores, **limits(), "soft_nms_sigma": Const(np.float32(0.5))}
    assert "soft" in refused("NonMaxSuppressionV5", soft)


@few
@given(
    n=st.integers(1, 6), classes=st.integers(1, 3), seed=st.integers(0, 99), clip=st.booleans(),
    total=st.integers(1, 9), pad=st.booleans(), each=st.booleans(), unknown=st.sampled_from([[0], [0, 1], [0, 1, 3]]),
)  # fmt: skip
def test_combined_non_max_suppression(n, classes, seed, clip, total, pad, each, unknown):
    own = classes if each else 1
    images = [np.stack([boxes_and_scores(n, seed + i + 7 * c)[0] for c in range(own)], 1) for i in range(2)]
    rng = np.random.default_rng(seed)
    scores = (rng.permutation(2 * n * classes).reshape(2, n, classes) / (2 * n * classes)).astype(np.float32)
    operands = {
        "boxes": np.stack(images),
        "scores": scores,
        "max_output_size_per_class": Const(3),
        "max_total_size": Const(total),
        "iou_threshold": Const(np.float32(0.4)),
        "score_threshold": Const(np.float32(0.2)),
    }
    told = {"clip_boxes": clip, "pad_per_class": pad}
    check("CombinedNonMaxSuppression", operands, told, unknown={"boxes": unknown, "scores": unknown})
    if classes > 1:
        reason = refused("CombinedNonMaxSuppression", operands, told, unknown={"boxes": [2]})
        assert "boxes of their own is known only at run time" in reason


@moderate
@given(x=arrays(ranks=(2, 4), dims=(1, 4)), data=st.data(), dtype=st.sampled_from(["int32", "int64"]))
def test_reverse_sequence(x, data, dtype):
    batch, along = data.draw(st.permutations(range(x.ndim)))[:2]
    lengths = np.array([data.draw(st.integers(0, x.shape[along])) for _ in range(x.shape[batch])], dtype)
    check("ReverseSequence", [x, lengths], {"seq_dim": along, "batch_dim": batch}, unknown="all")


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_reverse_sequence_is_built(dtype):
    lengths = np.array([1, 3], np.int32)
    check(
        "ReverseSequence", [mixed((2, 3, 4), dtype), lengths], {"seq_dim": 1, "batch_dim": 0}, unknown=[0], build=True
    )
