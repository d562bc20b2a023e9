"""What an engine can say of its inputs beyond the C ABI: names, and shapes to run it with."""

from __future__ import annotations

import attrs

from tfgraphopt_trt.engine_op import abi
from tfgraphopt_trt.profiles import InputRange
from tfgraphopt_trt.tensorrt_engine import TensorRTEngine


@attrs.frozen(slots=True)
class InputHint:
    """One input.

    Attributes:
        name: as the engine calls it, else ``input_0`` and so on.
        shape: what its first profile is optimised for; None where nobody knows.
        values: likewise for a shape tensor.
    """

    name: str
    shape: tuple[int, ...] | None = None
    values: tuple[int, ...] | None = None


def input_hints(engine: abi.Engine) -> tuple[InputHint, ...]:
    """What is known of the inputs of ``engine``, in order."""
    if not isinstance(engine, TensorRTEngine):
        return tuple(InputHint(f"input_{i}") for i in range(len(engine.describe().input_dtypes)))
    profile = engine.signature.profiles[0]
    return tuple(_of_range(name, profile[i]) for i, name in enumerate(engine.signature.inputs))


def _of_range(name: str, given: InputRange) -> InputHint:
    return InputHint(name, given.opt, given.values.opt if given.values else None)
