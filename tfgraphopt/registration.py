"""Makes the engine ops of installed plugins known to TensorFlow as soon as a process has both, so that models with engines load.

``import tfgraphopt`` asks for it by a post-import hook of wrapt: `tensorflow_imported` runs at once where TensorFlow is imported
already, else at the end of its import. No plugin is loaded by that: only what distributions name in the entry-point group
``tfgraphopt.runtimes``. So a plugin's module may import both at its top. It never raises: what goes wrong is logged, and
``import tfgraphopt.runtime`` raises it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = "TFGRAPHOPT_ENGINE_OPS"
"""``off`` keeps ``import tfgraphopt`` from registering anything."""
_left_to_caller: ContextVar[bool] = ContextVar("left_to_caller", default=False)
_log = logging.getLogger("tfgraphopt")


@contextmanager
def left_to_caller() -> Iterator[None]:
    """Whoever imports TensorFlow in here registers engine ops itself, or needs none."""
    token = _left_to_caller.set(True)
    try:
        yield
    finally:
        _left_to_caller.reset(token)


def tensorflow_imported(tensorflow: object) -> None:
    """Register the engine ops of installed plugins, compiling them if no earlier process has."""
    if _left_to_caller.get() or os.environ.get(VARIABLE, "").lower() == "off":
        return
    try:
        problems = _register()
    except Exception as error:  # nobody's import of TensorFlow may fail because of us
        problems = {_text(error): ["every plugin"]}
    for problem, names in problems.items():
        _log.warning(
            "models with engines of %s cannot be loaded in this process: %s (`import tfgraphopt.runtime` raises the whole error; "
            "%s=off leaves engine ops alone)",
            ", ".join(names), problem, VARIABLE,
        )  # fmt: skip


def _register() -> dict[str, list[str]]:
    """Why runtimes could not be loaded, with the names of the plugins whose runtimes they are."""
    from tfgraphopt import runtimes

    problems: dict[str, list[str]] = {}
    for point in runtimes.installed():
        try:
            runtimes.load(point.load())
        except Exception as error:
            problems.setdefault(_text(error), []).append(point.name)
    return problems


def _text(error: Exception) -> str:
    from tfgraphopt.errors import TfGraphOptError

    if not isinstance(error, TfGraphOptError):
        return f"{type(error).__name__}: {error}"
    return "; ".join(part for part in (error.what, error.why.partition("\n")[0], error.hint) if part)
