"""What ``tfgraphopt doctor`` says of TensorRT, the engine cache, and the kinds of engines that would run here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfgraphopt.diagnosis import Diagnosis, Finding
from tfgraphopt.errors import ConfigError
from tfgraphopt.plugins import Tables
from tfgraphopt_trt import engine_op
from tfgraphopt_trt.engine_cache import EngineCache, default_directory
from tfgraphopt_trt.engine_kinds import ENGINES_HOOK
from tfgraphopt_trt.engine_ops import OPS
from tfgraphopt_trt.hookspecs import EngineKind
from tfgraphopt_trt.tensorrt_api import Installation, available

_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT for RTX"}
_EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}


def check_tensorrt(tables: Tables) -> Iterator[Finding]:
    """Which TensorRT is installed, and whether it loads."""
    found = available()
    yield from map(_installation, found)
    if not any(i.tensorrt for i in found):
        text = "no engines can be built; graphs can be analysed and rewritten"
        yield Finding("building", "missing", text, 'pip install "tfgraphopt[rtx]" builds without a GPU')
        return
    first = next(i.tensorrt for i in found if i.tensorrt)
    where = "for other machines too, with no GPU here" if first.is_portable else "for the GPU of this machine"
    yield Finding("building", "ok", f"by {_NAMES[first.flavour]} {first.version}, {where}")


def _installation(found: Installation) -> Finding:
    name, hint = _NAMES[found.flavour], f'pip install "tfgraphopt[{_EXTRAS[found.flavour]}]"'
    if found.tensorrt is not None:
        features = ", ".join(sorted(found.tensorrt.features))
        return Finding(name, "ok", f"{found.tensorrt.version}; libraries {_paths(found.libraries)}; has {features}")
    if found.is_absent:
        return Finding(name, "missing", found.problem, hint)
    return Finding(name, "problem", f"its bindings cannot be loaded: {found.problem}", f"{hint} brings its libraries")


def _paths(libraries: Sequence[str]) -> str:
    return ", ".join(libraries) or "found by the bindings themselves"


def check_engines(tables: Tables) -> Iterator[Finding]:
    """Which kinds of engines would run here, and what ``auto`` would take."""
    kinds: list[EngineKind] = sorted(tables.items(ENGINES_HOOK), key=lambda k: -k.rank)
    problems = {kind.name: kind.unusable() for kind in kinds}
    for name, problem in problems.items():
        yield Finding(f"engine {name}", "note" if problem else "ok", problem or "can run here")
    usable = [name for name, problem in problems.items() if problem is None]
    text = f"takes {usable[0]}" if usable else "finds none: engines are built for another machine, here TensorFlow runs"
    hint = "" if usable else 'a GPU with TensorRT, or pip install "tfgraphopt[openvino]" for the CPU'
    yield Finding("engine auto", "ok" if usable else "note", text, hint)


def check_loading(tables: Tables) -> Iterator[Finding]:
    """What a process needs that loads optimised models."""
    if engine_op.is_compiled():
        text = f"import tfgraphopt beside TensorFlow, which knows {OPS[0]} then: it is compiled for this TensorFlow"
        yield Finding("loading models", "ok", text)
        return
    text = f"{OPS[0]} is not compiled for this TensorFlow: the first process that imports it and tfgraphopt does that"
    yield Finding(
        "loading models", "note", text, "import tfgraphopt.runtime in a process now, which takes about a minute"
    )


def check_cache(tables: Tables) -> Iterator[Finding]:
    """Whether built engines can be kept."""
    if not default_directory().exists():
        yield Finding("engine cache", "ok", f"{default_directory()}, empty")
        return
    try:
        cache = EngineCache()
    except ConfigError as error:
        yield Finding("engine cache", "problem", f"{error.what}: {error.why}", error.hint)
        return
    entries = cache.ls()
    used, bound = sum(e.bytes for e in entries), cache.max_bytes
    text = f"{cache.directory}, {len(entries)} engines, {used / 2**20:.0f} of {bound / 2**20:.0f} MiB"
    yield Finding("engine cache", "ok", text)


DIAGNOSES = (
    Diagnosis("tensorrt", check_tensorrt, 10), Diagnosis("trt-engine-cache", check_cache, 11),
    Diagnosis("trt-engines", check_engines, 1000), Diagnosis("trt-loading", check_loading, 1001),
)  # fmt: skip
