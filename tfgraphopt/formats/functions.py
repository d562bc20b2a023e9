"""Optimised models as functions of TensorFlow."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfgraphopt.optimization import Result


def load_functions(result: Result) -> Mapping[str, Any]:
    """The endpoints of ``result`` as functions, by name: the model is written, and loaded as any SavedModel is.

    What was written stays as long as any of the functions.
    """
    import tensorflow as tf

    from tfgraphopt.running import register_unknown

    register_unknown(_ops(result))
    scratch = Path(tempfile.mkdtemp(prefix="tfgraphopt-"))
    try:
        loaded = tf.saved_model.load(str(result.save(scratch / "model")))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    weakref.finalize(loaded, shutil.rmtree, scratch, ignore_errors=True)
    functions = _found(loaded, result.parts)
    for function in functions.values():
        function.tfgraphopt_model = loaded  # holds the variables, and through them the directory
    return functions


def _ops(result: Result) -> Iterator[str]:
    modules = [result.module, *(part.module for part in result.parts.values())]
    graphs = ((module, graph) for module in modules for graph in module.graphs("tf"))
    return (node.op for module, graph in graphs for node in graph if node.op not in module.functions)


def _found(loaded: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    from tfgraphopt.formats.in_memory import FUNCTION
    from tfgraphopt.formats.signature import INITIALISER, SIGNATURE

    own = {FUNCTION: loaded.function} if hasattr(loaded, FUNCTION) else {}
    names = sorted(loaded.signatures, key=lambda n: (n != SIGNATURE, n))
    signatures = {name: loaded.signatures[name] for name in names if name != INITIALISER}
    rest = {n: _attribute(loaded, n.partition("/")[0]) for n in parts if n not in signatures}
    return {**own, **signatures, **{n: f for n, f in rest.items() if f is not None}}


def _attribute(loaded: Any, path: str) -> Any:
    found = loaded
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
