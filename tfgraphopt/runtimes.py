"""What a plugin contributes so that its engine nodes can run in a process, and how a process finds it without the plugin.

A distribution names the :class:`EngineRuntime` that its plugin returns from ``tfgraphopt_runtimes`` in the entry-point group
``tfgraphopt.runtimes`` as well, under the plugin's name::

    [project.entry-points."tfgraphopt.runtimes"]
    acme = "acme_tf.engine:RUNTIME"

A process that imports ``tfgraphopt`` and ``tensorflow``, in either order, loads these and no plugin. The module of the runtime is
therefore a small one, and imports no module that may be in the middle of importing TensorFlow itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs

from tfgraphopt.plugins import switched_off

GROUP = "tfgraphopt.runtimes"
_loading = threading.RLock()


@attrs.frozen(slots=True)
class PlanAttributes:
    """How engine nodes keep their plans, so that whoever writes a model can put plans into files beside it.

    Attributes:
        ops: the ops of the nodes.
        data: the attribute with the plan itself (bytes; empty when it is in a file).
        path: the attribute with the path of the file.
        digest: the attribute with the plan's SHA-256 (hexadecimal).
        register: a stateful op without results that tells, when it is run, where plans lie: its inputs ``filenames`` are ``N`` scalar
            strings, its attribute ``digests`` lists the digests of the plans in these files.
        body: the attribute with the name of the function that holds the TensorFlow body.
        body_inputs: the attribute that tells how many inputs at the end are for the body alone.
        types: the attribute with the types of all inputs.
    """

    ops: tuple[str, ...]
    data: str
    path: str
    digest: str
    register: str
    body: str
    body_inputs: str
    types: str


@attrs.frozen(slots=True)
class EngineRuntime:
    """Registers a plugin's engine op with TensorFlow.

    Attributes:
        name: what reports call it.
        load: registers the op(s) in this process (compiling them on first use) and whatever engine runtime is installed; may be
            called again.
        counters: per engine node, what it has done since the last reset: an attrs object with ``engine_runs``, ``fallback_runs``
            and ``fallbacks`` (runs of the TensorFlow body by reason).
        reset: sets the counters to zero.
        plans: how its engine nodes keep plans, if they do.
    """

    name: str
    load: Callable[[], object]
    counters: Callable[[], Mapping[str, Any]]
    reset: Callable[[], None]
    plans: PlanAttributes | None = None
    overrides: str = ""


def installed() -> Iterator[EntryPoint]:
    """The entry points of engine runtimes, by name; without those of plugins that the environment switches off."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return (point for point in points if point.name not in switched_off())


def load(runtime: EngineRuntime) -> None:
    """Load ``runtime`` into this process; one thread at a time, and nobody while TensorFlow is being imported.

    Raises:
        NativeBuildError: its op cannot be compiled or loaded.
    """
    import tensorflow  # noqa: F401  (before the lock: the thread that imports TensorFlow may be waiting for the lock)

    with _loading:
        runtime.load()
