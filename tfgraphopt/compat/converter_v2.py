"""TF-TRT's converter of TF2 SavedModels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.compat.environment import environment_options
from tfgraphopt.compat.parameters import (
    DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE,
    PROFILE_STRATEGY_RANGE,
    TrtConversionParams,
    TrtPrecisionMode,
    check_params,
    check_strategy,
    options_of,
    superseded,
    wants_calibration,
)
from tfgraphopt.compat.reporting import draw, print_summary, show_rejections
from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import ConfigError
from tfgraphopt.optimization import Result, optimize
from tfgraphopt.profiling import shape_ranges

InputFn = Callable[[], Iterable[Any]]
DEFAULT_BATCHES = (1, 8, 32)
"""Smallest, best and largest batch of engines that are built though ``build`` was not called."""


class TrtGraphConverterV2:
    """Converts one signature of a SavedModel; see ``docs/how-to/migrate.md`` for what differs from TF-TRT's."""

    def __init__(
        self,
        input_saved_model_dir: str | None = None,
        input_saved_model_tags: Sequence[str] | None = None,
        input_saved_model_signature_key: str | None = None,
        use_dynamic_shape: bool | None = None,
        dynamic_shape_profile_strategy: str | None = None,
        max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
        precision_mode: str = TrtPrecisionMode.FP32,
        minimum_segment_size: int = 3,
        maximum_cached_engines: int = 1,
        use_calibration: bool = True,
        allow_build_at_runtime: bool = True,
        conversion_params: TrtConversionParams | None = None,
    ) -> None:
        """Initialise the converter.

        Args:
            input_saved_model_dir: the SavedModel to convert.
            input_saved_model_tags: its tags; ``serve`` by default.
            input_saved_model_signature_key: the signature; ``serving_default`` by default.
            use_dynamic_shape: whether ``build`` makes profiles by a strategy; otherwise each shape that it sees gets one, for every
                batch up to its own.
            dynamic_shape_profile_strategy: one of ``supported_profile_strategies()``; Range by default.
            max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration,
                allow_build_at_runtime: see :class:`TrtConversionParams`.
            conversion_params: deprecated; replaces these six.

        Raises:
            ValueError: a parameter is wrong.
            RuntimeError: TensorFlow does not execute eagerly.
        """
        _check_eager()
        if conversion_params is not None:
            warnings.warn(
                "conversion_params is deprecated: pass its fields by themselves", DeprecationWarning, stacklevel=2
            )
        self._params = conversion_params or TrtConversionParams(
            max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration,
            allow_build_at_runtime,
        )  # fmt: skip
        check_params(self._params)
        if input_saved_model_dir is None:
            raise ConfigError("input_saved_model_dir is missing", hint="give the directory of a SavedModel")
        self._directory = input_saved_model_dir
        self._tags = list(input_saved_model_tags or ["serve"])
        self._signature = input_saved_model_signature_key or "serving_default"
        self._strategy = PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE
        if use_dynamic_shape:
            self._strategy = dynamic_shape_profile_strategy or PROFILE_STRATEGY_RANGE
            check_strategy(self._strategy)
        self._is_dynamic = bool(use_dynamic_shape)
        self._calibration_input_fn: InputFn | None = None
        self._result: Result | None = None
        self._config: Config | None = None
        self._is_built = False
        self._is_calibrated = False

    def convert(self, calibration_input_fn: InputFn | None = None) -> Any:
        """Cut the signature into segments and give it back as a function; engines are built by ``build``, or by ``save``.

        Args:
            calibration_input_fn: for INT8 with calibration, gives the data: batches as ``build`` takes them. It is run here, or with
                dynamic shapes by ``build``.

        Raises:
            ValueError: calibration data is missing, or not needed.
        """
        assert self._result is None, "convert() was called already"
        needs = wants_calibration(self._params)
        if needs and calibration_input_fn is None:
            raise ConfigError("calibration_input_fn is missing: INT8 with use_calibration needs data")
        if calibration_input_fn is not None and not needs:
            raise ConfigError(
                "calibration_input_fn is given, but nothing is calibrated: it is for INT8 with use_calibration"
            )
        self._calibration_input_fn = calibration_input_fn
        self._config = Config(**{**options_of(self._params), **environment_options()})
        if needs and not self._is_dynamic:
            self._calibrate()
        self._result = self._optimised(self._precision_so_far(), engine="none", input_shapes={})
        draw(self._result)
        show_rejections(self._result)
        return self._result.function

    def build(self, input_fn: InputFn | None) -> None:
        """Build the engines for the shapes of sample inputs.

        Args:
            input_fn: yields inputs: one array or tensor, a list or tuple of them in the order of the signature's inputs (by name), or
                a mapping of names.

        Raises:
            NotImplementedError: called a second time.
            RuntimeError: there is no input_fn, convert was not called, or calibration data is missing.
        """
        if self._is_built:
            raise NotImplementedError("build() was called already; make another converter for other shapes")
        if input_fn is None:
            raise RuntimeError("input_fn is None: build() takes the shapes of engines from what it yields")
        if self._result is None:
            raise RuntimeError("call convert() before build()")
        if wants_calibration(self._params) and not self._is_calibrated:
            self._calibrate()
        ranges = shape_ranges((_arrays(i) for i in input_fn()), self._strategy, inputs=self._inputs)
        self._result = self._optimised(self._known_config(), engine="tensorrt", input_shapes=ranges)
        self._is_built = True

    def save(self, output_saved_model_dir: str, save_gpu_specific_engines: bool = True, options: Any = None) -> None:
        """Write the converted model with its engines.

        Engines that ``build`` was not called for are built here, for the shapes of the signature and batches 1 to 32 where the batch
        is unknown: nothing is built while a model is served.

        Args:
            output_saved_model_dir: the directory to write.
            save_gpu_specific_engines: False leaves the engines out; optimise the model again on the machine that serves it.
            options: without effect.

        Raises:
            RuntimeError: calibration is still to be done.
        """
        assert self._result is not None, "call convert() before save()"
        if options is not None:
            superseded("options", "variables, assets and functions stay as the original's saver wrote them")
        if wants_calibration(self._params) and not self._is_calibrated:
            raise RuntimeError("the model has to be calibrated before it is saved: call build()")
        result = self._result
        if not save_gpu_specific_engines:
            result = self._optimised(self._known_config(), engine="none", input_shapes={})
        elif not self._is_built and self._params.allow_build_at_runtime:
            result = self._built_for_signature(result)
        result.save(output_saved_model_dir)

    def summary(
        self, line_length: int = 160, detailed: bool = True, print_fn: Callable[[str], object] | None = None
    ) -> None:
        """Print a table of the engines: their nodes, inputs and outputs.

        Args:
            line_length: characters of a line, at least 160.
            detailed: whether the ops of every engine are counted.
            print_fn: gets every line.

        Raises:
            RuntimeError: convert was not called.
            ValueError: the line is too short.
        """
        if self._result is None:
            raise RuntimeError("call convert() before summary()")
        print_summary(self._result, line_length, detailed, print_fn or print)

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _inputs(self) -> list[str]:
        """The signature's inputs in the order of positional samples."""
        assert self._result is not None
        return sorted(self._result.inputs)

    def _known_config(self) -> Config:
        assert self._config is not None
        return self._config

    def _precision_so_far(self) -> Config:
        """Before calibration an INT8 model is segmented as an FP32 one."""
        config = self._known_config()
        waits = wants_calibration(self._params) and not self._is_calibrated
        return attrs.evolve(config, precision="fp32") if waits else config

    def _optimised(self, config: Config, **given: Any) -> Result:
        batch = max(DEFAULT_BATCHES)  # without ranges: judges nodes, builds nothing
        return optimize(
            self._directory, tags=self._tags, signatures=[self._signature], config=config, max_batch_size=batch, **given
        )  # fmt: skip

    def _calibrate(self) -> None:
        """Find the ranges on the caller's data; from now on the configuration knows them."""
        if self._calibration_input_fn is None:
            raise RuntimeError("convert() needs calibration_input_fn")
        first = optimize(
            self._directory, tags=self._tags, signatures=[self._signature], config=self._known_config(), engine="none",
            max_batch_size=max(DEFAULT_BATCHES), calibration_data=self._samples(),
        )  # fmt: skip
        self._config, self._is_calibrated = first.config, True

    def _samples(self) -> Iterable[Any]:
        assert self._calibration_input_fn is not None
        for sample in self._calibration_input_fn():
            yield _arrays(sample)

    def _built_for_signature(self, result: Result) -> Result:
        """The model with engines for what its signature says of shapes; as it is where that is not enough."""
        dims = {name: result.module.main.node(node).outputs[0].shape.dims for name, node in result.inputs.items()}
        ranges = {name: _range_for(d) for name, d in dims.items()}
        unknown = sorted(name for name, found in ranges.items() if found is None)
        if unknown:
            superseded(
                "building engines in the first request",
                f"call build(); none is built, for the shape of {unknown} is not known",
            )
            return result
        superseded(
            "building engines in the first request",
            f"call build(); engines are built now, for batches {DEFAULT_BATCHES[0]} to {DEFAULT_BATCHES[-1]} where it is unknown",
        )
        return self._optimised(self._known_config(), engine="tensorrt", input_shapes=ranges)


def _range_for(dims: Sequence[int | None] | None) -> ShapeRange | None:
    """The shapes that a signature's input may take; None where more than the batch is unknown."""
    if dims is None or None in dims[1:]:
        return None
    rest = [d for d in dims[1:] if d is not None]
    batches = [] if not dims else [*DEFAULT_BATCHES] if dims[0] is None else [dims[0]] * 3
    low, best, high = [(b, *rest) for b in batches] or [()] * 3
    return ShapeRange(low, best, high)


def _arrays(sample: Any) -> Any:
    """A sample without tensors: arrays in the same structure."""
    import numpy as np

    if isinstance(sample, Mapping):
        return {name: np.asarray(value) for name, value in sample.items()}
    if isinstance(sample, list | tuple):
        return tuple(np.asarray(value) for value in sample)
    return np.asarray(sample)


def _check_eager() -> None:
    import tensorflow as tf

    if not tf.executing_eagerly():
        raise RuntimeError("TrtGraphConverterV2 needs eager execution; use TrtGraphConverter in graph mode")
