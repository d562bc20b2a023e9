"""Which kind of engine an optimisation builds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tfgraphopt.errors import ConfigError
from tfgraphopt.passes import Context
from tfgraphopt_trt.hookspecs import EngineKind
from tfgraphopt_trt.tensorrt_api import installed, runs_on

ENGINES_HOOK = "tfgraphopt_trt_engines"
_CHOSEN = "trt.engine-kind"
NO_ENGINE = "no engine can run on this machine"


def chosen_kind(ctx: Context) -> EngineKind:
    """The kind that ``engine`` names; for ``auto`` the best that this machine can run; decided once an optimisation.

    With ``none`` nothing is built, and the nodes are TensorRT's. For ``auto`` where no kind can run here it is
    :data:`TENSORFLOW`: nothing becomes an engine, and the report says what speaks against each kind.

    Raises:
        ConfigError: no plugin provides that kind.
    """
    if _CHOSEN not in ctx.facts:
        ctx.facts[_CHOSEN] = _choose(ctx)
    kind: EngineKind = ctx.facts[_CHOSEN]
    return kind


def builds(ctx: Context, name: str) -> bool:
    """Whether this optimisation builds engines of kind ``name``."""
    return ctx.config.engine != "none" and chosen_kind(ctx).name == name


def _choose(ctx: Context) -> EngineKind:
    kinds: Mapping[str, EngineKind] = ctx.tables.table(ENGINES_HOOK)
    wanted = "tensorrt" if ctx.config.engine == "none" else ctx.config.engine
    if wanted == "auto":
        return _best(ctx, kinds)
    if wanted not in kinds:
        raise ConfigError(
            f"no plugin provides the engine {wanted!r}",
            hint=f"there are {', '.join(sorted(kinds))}; see tfgraphopt plugins",
        )
    return kinds[wanted]


def _best(ctx: Context, kinds: Mapping[str, EngineKind]) -> EngineKind:
    problems = {}
    for kind in sorted(kinds.values(), key=lambda k: -k.rank):
        problem = kind.unusable()
        if problem is None:
            return kind
        problems[kind.name] = problem
    said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    ctx.report.say(f"{NO_ENGINE} ({said}): everything stays in TensorFlow")
    return TENSORFLOW


def _tensorrt_unusable() -> str | None:
    tf: Any = importlib.import_module("tensorflow")
    devices = tf.config.list_physical_devices("GPU")
    flavours = installed()
    if not devices:
        return "TensorFlow sees no GPU"
    if not flavours:
        return "TensorRT is not installed"
    capability = tuple(tf.config.experimental.get_device_details(devices[0]).get("compute_capability", ()))
    if capability and not any(runs_on(flavour, capability) for flavour in flavours):
        shown = ".".join(map(str, capability))
        return f"TensorRT for RTX does not run on GPUs of compute capability {shown}; the full TensorRT does"
    return None


def this_gpu() -> str:
    """The model and the compute capability of the GPU that engines are built for here; empty where TensorFlow sees none."""
    tf: Any = importlib.import_module("tensorflow")
    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return ""
    details = tf.config.experimental.get_device_details(devices[0])
    return f"{details.get('device_name', '')} {details.get('compute_capability', '')}"


TENSORRT = EngineKind("tensorrt", "TRTEngineOp", "tensorrt", _tensorrt_unusable, rank=30)
TENSORFLOW = EngineKind("tensorflow", "TfgraphoptEngineOp", "", lambda: None)
"""What ``auto`` comes to where no engine can run; no plugin builds it, and no node goes into one."""
