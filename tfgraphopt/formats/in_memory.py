"""Models that live in this process (Keras models, functions): saved to a temporary SavedModel, and optimised as that."""

from __future__ import annotations

import contextlib
import inspect
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfgraphopt.errors import ConfigError, GraphDefError

FUNCTION = "function"


def is_keras(model: object) -> bool:
    """Whether ``model`` is a Keras model, of Keras 3 or of tf-keras."""
    names = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(model).__mro__}
    return bool(names & {"keras.Model", "tf_keras.Model", "keras.Functional"})


def is_function(model: object) -> bool:
    """Whether ``model`` is what ``tf.function`` makes, or one concrete function."""
    return hasattr(model, "get_concrete_function") or (
        hasattr(model, "structured_outputs") and hasattr(model, "captured_inputs")
    )


def save_keras(model: Any, directory: Path) -> None:
    """Export the inference function of a Keras model.

    Raises:
        GraphDefError: Keras cannot export it.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints what it exports
            if hasattr(model, "export"):
                model.export(str(directory), verbose=False) if _has_verbose(model.export) else model.export(
                    str(directory)
                )
            else:
                model.save(str(directory), save_format="tf")
    except Exception as error:
        raise GraphDefError(
            "the Keras model cannot be exported", why=str(error), hint="is it built? call it on data once"
        ) from error


def _has_verbose(export: Callable[..., Any]) -> bool:
    return "verbose" in inspect.signature(export).parameters


def load_keras(path: Path) -> Any:
    """The model in a ``.keras`` or ``.h5`` file, not compiled.

    Raises:
        GraphDefError: it cannot be loaded.
        MissingDependency: Keras is not installed.
    """
    try:
        import keras
    except ImportError as error:
        from tfgraphopt.errors import MissingDependency

        raise MissingDependency(f"{path} is a Keras model", hint="pip install keras") from error
    try:
        return keras.models.load_model(str(path), compile=False)
    except Exception as error:
        raise GraphDefError(
            f"{path} cannot be loaded by Keras {keras.__version__}", why=str(error),
            hint="load it yourself (custom_objects, tf-keras for models of Keras 2) and pass the model",
        ) from error  # fmt: skip


def save_function(function: Any, directory: Path) -> None:
    """Save a ``tf.function`` with an input signature, or a concrete function, as attribute ``function`` of a SavedModel.

    It is the signature ``serving_default`` too, where its results are tensors or a flat mapping of them.

    Raises:
        ConfigError: the function has been traced for no types yet.
        GraphDefError: TensorFlow cannot save it.
    """
    import tensorflow as tf

    module = tf.Module()
    module.function = function
    module.held = list(_variables(function))  # keeps what the function captures tracked
    signature = _signature_of(function)
    try:
        _save(module, signature, directory)
    except (ValueError, TypeError, AssertionError, tf.errors.OpError) as error:
        raise GraphDefError("the function cannot be saved", why=str(error)) from error


def _save(module: Any, signature: Any, directory: Path) -> None:
    """Save a module; without custom gradients where these hold tensors of a graph of their own, as after freezing."""
    import tensorflow as tf

    try:
        tf.saved_model.save(module, str(directory), signatures=signature)
    except ValueError as error:
        if "custom gradients" not in str(error):
            raise
        shutil.rmtree(directory, ignore_errors=True)
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(directory), signatures=signature, options=options)


def _variables(function: Any) -> list[Any]:
    concrete = function if hasattr(function, "captured_inputs") else _concrete(function)
    return list(concrete.graph.variables)


def _concrete(function: Any) -> Any:
    traces = function._list_all_concrete_functions() if hasattr(function, "_list_all_concrete_functions") else []
    if function.input_signature is not None:
        return function.get_concrete_function()
    if len(traces) == 1:
        return traces[0]
    raise ConfigError(
        f"the function has {'no' if not traces else len(traces)} traces and no input signature",
        hint="pass function.get_concrete_function(tf.TensorSpec(...)), or give it an input_signature",
    )


def _signature_of(function: Any) -> Any:
    """The function as a signature; none where its results are nested or not tensors."""
    concrete = function if hasattr(function, "structured_outputs") else _concrete(function)
    outputs = concrete.structured_outputs
    flat = (
        outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list | tuple) else [outputs]
    )
    return concrete if all(hasattr(t, "dtype") and hasattr(t, "shape") for t in flat) and flat else None
