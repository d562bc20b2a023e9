"""What a plugin contributes so that its engine nodes can run in a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs


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
    """

    name: str
    load: Callable[[], object]
    counters: Callable[[], Mapping[str, Any]]
    reset: Callable[[], None]
    overrides: str = ""
