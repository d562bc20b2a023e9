"""Every architecture of keras.applications, untrained, with realistic random parameters, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from zoo import cache
from zoo.frozen import FrozenModel, concrete_shape, freeze

NAMED = ("ResNet50", "MobileNetV2", "VGG16", "DenseNet121", "EfficientNetB0", "InceptionV3")
"""The six that acceptance criteria name."""

_FEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image": (
            *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
            *(f"EfficientNetB{size}" for size in range(8)),
            *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
            *("MobileNetV3Large", "MobileNetV3Small"),
        ),
        "image_caffe": ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"),
        "image_torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
        "image_signed": (
            *("ResNet50V2", "ResNet101V2", "ResNet152V2", "MobileNet", "MobileNetV2", "InceptionV3"),
            *("InceptionResNetV2", "Xception", "NASNetMobile", "NASNetLarge"),
        ),
    }
)
"""The input that each architecture's own preprocess_input makes."""

_CALIBRATION_BATCH = 8
_UNKNOWN_SIZE = 224
"""Pixels for data of MobileNetV3, whose height and width Keras leaves unknown."""


def _pairs() -> Iterator[tuple[str, str]]:
    for feed, names in _FEEDS.items():
        yield from ((name, feed) for name in names)


FEED_OF: Mapping[str, str] = MappingProxyType(dict(_pairs()))
"""Architecture -> kind of input it takes; all 40 of keras.applications."""

_LARGE = ("ConvNeXtLarge", "VGG16", "VGG19", "NASNetLarge", "EfficientNetV2L", "ConvNeXtXLarge")
NAMES = (*NAMED, *sorted(set(FEED_OF) - set(NAMED) - set(_LARGE)), *(name for name in _LARGE if name not in NAMED))
"""All architectures: the named ones first, the largest last."""


def build(name: str, seed: int = 0) -> FrozenModel:
    """The frozen model, from the cache or built now (seconds to minutes, in a process of its own).

    One input `input` (batch, height, width, 3) float32, one output `predictions` (batch, 1000). Raises KeyError for a
    name that is not in `NAMES`.
    """
    if name not in FEED_OF:
        raise KeyError(f"{name!r} is not an architecture of keras.applications; NAMES lists them")
    return cache.fetch(name, seed)


def build_here(name: str, seed: int) -> FrozenModel:
    """What `build` does where the cache has nothing, in this process; sets Keras' global random seed."""
    import keras

    from zoo.randomise import randomise

    keras.utils.set_random_seed(seed)
    model: Any = getattr(keras.applications, name)(weights=None)
    shape = tuple(model.inputs[0].shape)
    sample = tuple(_UNKNOWN_SIZE for size in shape[1:] if size is None)
    data = _calibration_data(FEED_OF[name], concrete_shape(shape, _CALIBRATION_BATCH, sample), seed)
    randomise(model, data, seed)
    return freeze(model, name, outputs=("predictions",), feed=FEED_OF[name], sample=sample)


def build_unmeasured(name: str, seed: int = 0, pixels: int | None = None) -> FrozenModel:
    """The same graph in this process with parameters that nothing was measured for: quick, for graphs and engines only.

    ``pixels``: edge of its images, where not the usual ones.
    """
    import keras

    from zoo.randomise import scatter

    keras.utils.set_random_seed(seed)
    shape = None if pixels is None else (pixels, pixels, 3)
    model: Any = getattr(keras.applications, name)(weights=None, input_shape=shape)
    sample = tuple(_UNKNOWN_SIZE for size in model.inputs[0].shape[1:] if size is None)
    scatter(model, seed)
    return freeze(model, name, outputs=("predictions",), feed=FEED_OF[name], sample=sample)


def _calibration_data(feed: str, shape: tuple[int, ...], seed: int) -> Any:
    import numpy as np

    from zoo.feeds import FEEDS

    return FEEDS[feed](shape, np.random.default_rng(seed + 1_000_003))
