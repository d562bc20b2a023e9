"""TF-TRT's converter of frozen graphs and TF1 SavedModels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfgraphopt import plugins
from tfgraphopt.calibration import calibration_of
from tfgraphopt.compat.environment import environment_options
from tfgraphopt.compat.parameters import (
    DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
    TrtConversionParams,
    TrtPrecisionMode,
    check_params,
    options_of,
    superseded,
    wants_calibration,
)
from tfgraphopt.compat.reporting import draw, show_rejections
from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.formats.load import LoadedModel, load_model
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.optimization import Result, optimize

DYNAMIC_BATCH = 32
"""The largest batch of what TF-TRT called a dynamic op, which built an engine for whatever came."""


class TrtGraphConverter:
    """Converts a frozen GraphDef or a SavedModel in graph mode; see ``docs/how-to/migrate.md`` for what differs from TF-TRT's."""

    def __init__(
        self,
        input_saved_model_dir: str | None = None,
        input_saved_model_tags: Sequence[str] | None = None,
        input_saved_model_signature_key: str | None = None,
        input_graph_def: GraphDef | None = None,
        nodes_denylist: Sequence[str] | None = None,
        max_batch_size: int | None = 1,
        max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
        precision_mode: str = TrtPrecisionMode.FP32,
        minimum_segment_size: int = 3,
        is_dynamic_op: bool = False,
        maximum_cached_engines: int = 1,
        use_calibration: bool = True,
    ) -> None:
        """Initialise the converter.

        Args:
            input_saved_model_dir, input_saved_model_tags, input_saved_model_signature_key: a SavedModel, its tags (``serve``) and
                its signature (``serving_default``).
            input_graph_def: a frozen graph in its place.
            nodes_denylist: nodes that stay in TensorFlow, under their names: of a GraphDef, what is fetched.
            max_batch_size: the largest batch of the engines.
            max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration: see
                :class:`TrtConversionParams`.
            is_dynamic_op: as False, but for batches up to 32.

        Raises:
            ValueError: a parameter is wrong, or there is not exactly one model.
            RuntimeError: TensorFlow executes eagerly.
        """
        _check_graph_mode()
        if (input_graph_def is None) == (not input_saved_model_dir):
            raise ConfigError("give one of input_graph_def and input_saved_model_dir")
        self._params = TrtConversionParams(
            max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration
        )
        check_params(self._params)
        self._graph_def = input_graph_def
        self._denied = list(nodes_denylist or ())
        self._directory = input_saved_model_dir or ""
        self._tags = list(input_saved_model_tags or ["serve"])
        self._signature = input_saved_model_signature_key or "serving_default"
        self._needs_calibration = wants_calibration(self._params)
        self._batch = _largest_batch(max_batch_size, is_dynamic_op, self._needs_calibration)
        self._converted: GraphDef | None = None
        self._result: Result | None = None
        self._is_calibrated = False

    def convert(self) -> GraphDef:
        """The converted graph; for INT8 with calibration the calibration graph, which computes what the original does."""
        assert self._converted is None, "convert() was called already"
        config = Config(**{**options_of(self._params), **environment_options()}, max_batch_size=self._batch)
        if self._needs_calibration:
            tables = plugins.load()
            model = self._loaded()
            self._converted = calibration_of(tables).prepare(model.graph_def, model.outputs, config, tables)
            return self._converted
        self._result = self._optimised(config)
        draw(self._result)
        show_rejections(self._result)
        self._converted = self._result.graph_def
        return self._converted

    def calibrate(
        self, fetch_names: Sequence[str], num_runs: int, feed_dict_fn: Callable[[], Mapping[str, Any]] | None = None,
        input_map_fn: Callable[[], Mapping[str, Any]] | None = None,
    ) -> GraphDef:  # fmt: skip
        """Run the calibration graph on data, and give the INT8 graph.

        Args:
            fetch_names: tensors to fetch.
            num_runs: how often.
            feed_dict_fn: gives what is fed to tensors by their names, anew for every run.
            input_map_fn: gives tensors of the graph that calibration runs in, by the names of inputs that they take the place of.

        Raises:
            ValueError: not exactly one of the two functions is given, or what the second gives is wrong.
        """
        assert self._converted is not None, "call convert() before calibrate()"
        assert self._needs_calibration, "calibrate() is for INT8 with use_calibration"
        assert not self._is_calibrated, "calibrate() was called already"
        if (feed_dict_fn is None) == (input_map_fn is None):
            raise ConfigError("give one of feed_dict_fn and input_map_fn")
        self._run(fetch_names, num_runs, feed_dict_fn, input_map_fn)
        tables = plugins.load()
        self._result = calibration_of(tables).infer(self._converted, None, tables, lambda what, done, total: None)
        self._converted, self._is_calibrated = self._result.graph_def, True
        return self._converted

    def save(self, output_saved_model_dir: str) -> None:
        """Write the converted SavedModel.

        Raises:
            ValueError: the model was a GraphDef.
        """
        assert self._converted is not None, "call convert() before save()"
        assert self._is_calibrated or not self._needs_calibration, "call calibrate() before save()"
        if self._graph_def is not None:
            raise ConfigError(
                "a converted GraphDef is not saved as a SavedModel", hint="tfgraphopt.optimize(graph_def).save() does"
            )
        assert self._result is not None
        result = self._result
        if self._is_calibrated:  # the same, on the SavedModel instead of its frozen graph
            result = self._optimised(result.config)
        result.save(output_saved_model_dir)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _optimised(self, config: Config) -> Result:
        if self._graph_def is None:
            return optimize(self._directory, tags=self._tags, signatures=[self._signature], config=config)
        names = {n.name for n in self._graph_def.node}
        outputs = [o for o in self._denied if o.partition(":")[0] in names]
        denied = [o.partition(":")[0] for o in outputs]
        return optimize(self._graph_def, outputs=outputs or None, config=config, denied_nodes=denied)

    def _loaded(self) -> LoadedModel:
        if self._graph_def is None:
            from pathlib import Path

            return load_model(Path(self._directory), signature=self._signature, tags=",".join(self._tags))
        from tfgraphopt.formats.signature import ends

        return LoadedModel(self._graph_def, tuple(self._denied) or ends(self._graph_def.node))

    def _run(
        self, fetch_names: Sequence[str], num_runs: int, feed_dict_fn: Callable[[], Mapping[str, Any]] | None,
        input_map_fn: Callable[[], Mapping[str, Any]] | None,
    ) -> None:  # fmt: skip
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            mapping = None if input_map_fn is None else _checked(input_map_fn())
            names = [name if ":" in name else f"{name}:0" for name in fetch_names]
            fetched = tf.graph_util.import_graph_def(self._converted, input_map=mapping, return_elements=names, name="")
            with tf.compat.v1.Session(graph=graph) as session:
                for _ in range(num_runs):
                    session.run(fetched, None if feed_dict_fn is None else feed_dict_fn())


def _checked(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    import tensorflow as tf

    if not all(isinstance(name, str) for name in mapping):
        raise ConfigError("input_map_fn must give the names of inputs as texts")
    if not all(isinstance(value, tf.Tensor) for value in mapping.values()):
        raise ConfigError("input_map_fn must give tensors of the graph that is the default one when it is called")
    return mapping


def _largest_batch(max_batch_size: int | None, is_dynamic_op: bool, needs_calibration: bool) -> int:
    if is_dynamic_op:
        superseded(
            "is_dynamic_op",
            f"engines are built ahead, for batches up to max_batch_size, or {DYNAMIC_BATCH} for dynamic ops",
        )
        return max(max_batch_size or 0, DYNAMIC_BATCH)
    if not isinstance(max_batch_size, int):
        raise ConfigError(f"max_batch_size must be a number, not {max_batch_size!r}")
    return max_batch_size


def _check_graph_mode() -> None:
    import tensorflow as tf

    if tf.executing_eagerly():
        raise RuntimeError("TrtGraphConverter is for graph mode: use TrtGraphConverterV2, or tfgraphopt.optimize()")
