"""Face detection with mtcnn's own pipeline, on whatever runs its three networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from zoo.frozen import Array, Runner

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False)
class Detections:
    """Faces, one a row: `boxes` (x1, y1, x2, y2) in pixels, `scores` 0 to 1, `landmarks` (5, 2) pixels x, y.

    The landmarks are left eye, right eye, nose, left and right corner of the mouth.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats


def _network(run: Runner) -> Callable[[Any], list[Any]]:
    """`run` as the package calls its networks: it takes a tensor or an array and returns eager tensors."""
    return lambda pixels: [tf.constant(result) for result in run(np.asarray(pixels, np.float32))]


def _stage(kind: Any, number: int, run: Runner) -> Any:
    """A stage of the package around `run`; the package's own constructor would build its Keras model."""
    stage = kind.__new__(kind)
    super(kind, stage).__init__(f"stage {number}", number, model=_network(run))
    return stage


def detect(image: Array | list[Array], pnet: Runner, rnet: Runner, onet: Runner) -> Detections:
    """The faces in `image` (height, width, 3) uint8 RGB, or in all of a list: pyramid, PNet, RNet, ONet and the suppressions between.

    Each of the three functions takes one float32 array of images and returns the outputs of `zoo.pretrained.build` of
    its name, in that order. Thresholds and scales are mtcnn 1.0.0's defaults. Zhang et al. 2016, arXiv:1604.02878.
    """
    from mtcnn import MTCNN
    from mtcnn.stages import StageONet, StagePNet, StageRNet

    kinds = (StagePNet, StageRNet, StageONet)
    stages = [
        _stage(kind, number, run) for number, (kind, run) in enumerate(zip(kinds, (pnet, rnet, onet), strict=True), 1)
    ]
    found = MTCNN(stages=stages).detect_faces(image, output_type="numpy", box_format="xyxy")
    return _detections(np.asarray(found, np.float64).reshape(-1, 16))


def _detections(rows: Floats) -> Detections:
    """Rows are image, x1, y1, x2, y2, score, five x, five y; best face first."""
    rows = rows[np.argsort(-rows[:, 5], kind="stable")]
    return Detections(rows[:, 1:5], rows[:, 5], np.stack([rows[:, 6:11], rows[:, 11:16]], axis=-1))


def astronaut() -> Array:
    """scikit-image's photograph of Eileen Collins (512, 512, 3) uint8; comes with the package."""
    from skimage import data

    photograph: Any = data.astronaut
    return np.asarray(photograph())


def same_faces(first: Detections, second: Detections, pixels: float = 0.5) -> bool:
    """Whether both found the same faces: as many, every box and landmark within `pixels`, scores within 1e-3."""
    if len(first.boxes) != len(second.boxes):
        return False
    limits: Sequence[tuple[Floats, Floats, float]] = (
        (first.boxes, second.boxes, pixels),
        (first.landmarks, second.landmarks, pixels),
        (first.scores, second.scores, 1e-3),
    )
    return all(bool(np.abs(left - right).max(initial=0.0) <= limit) for left, right, limit in limits)
