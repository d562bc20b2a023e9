"""Optimised models as functions of TensorFlow."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfgraphopt.optimization import Result


def load_functions(result: Result) -> Mapping[str, Any]:
    """The endpoints of ``result`` as functions, by name: the model is written, and loaded as any SavedModel is.

    What was written stays as long as any of the functions.
    """
    import tensorflow as tf

    import tfgraphopt.runtime  # noqa: F401  registers the engine op

    scratch = Path(tempfile.mkdtemp(prefix="tfgraphopt-"))
    try:
        loaded = tf.saved_model.load(str(result.save(scratch / "model")))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    weakref.finalize(loaded, shutil.rmtree, scratch, ignore_errors=True)
    return {name: _Held(loaded, found) for name, found in _found(loaded, result.parts).items()}


def _found(loaded: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    from tfgraphopt.formats.in_memory import FUNCTION

    own = {FUNCTION: loaded.function} if hasattr(loaded, FUNCTION) else {}
    signatures = {name: loaded.signatures[name] for name in loaded.signatures}
    rest = {n: _attribute(loaded, n.partition("/")[0]) for n in parts if n not in signatures}
    return {**own, **signatures, **{n: f for n, f in rest.items() if f is not None}}


def _attribute(loaded: Any, path: str) -> Any:
    found = loaded
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


class _Held:
    """A function, and the loaded model that it needs alive."""

    def __init__(self, model: Any, function: Any) -> None:
        self._model, self._function = model, function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)
