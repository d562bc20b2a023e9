"""Loads the engine op and speaks to its compiled library: runtimes, counters."""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, TracebackType

import attrs

from tfgraphopt import native
from tfgraphopt.errors import ConfigError

from .abi import ABI_VERSION, OK, Message, Runtime, RuntimeTable, drop, runtime_table

_MESSAGE_BYTES = 2048
_VISITOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64)
_FALLBACK = "fallback:"


def _read_only(values: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(values))


@attrs.frozen
class EngineCounters:
    """What one engine node has done in this process since the counters were last reset."""

    engine_runs: int = 0
    fallbacks: Mapping[str, int] = attrs.field(factory=dict, converter=_read_only)
    """How often TensorFlow ran the body, by reason: no_plan, plan_unreadable, plan_damaged, plan_untrusted, no_runtime,
    plan_refused, signature_mismatch, shape_outside_profiles, run_failed. Refusals in strict mode are counted too."""
    engines_created: int = 0
    contexts_created: int = 0

    @property
    def fallback_runs(self) -> int:
        """Return how often TensorFlow ran the body, for whatever reason."""
        return sum(self.fallbacks.values())


@attrs.frozen
class LiveObjects:
    """Engines and contexts that exist in this process, of all runtimes."""

    engines: int
    contexts: int


@attrs.define(eq=False)
class Registration:
    """A registered runtime; a context manager that unregisters it. Dropping this object does not."""

    name: str
    _active: bool = True

    def unregister(self) -> None:
        """Forget the runtime: from their next call on, its nodes run their TensorFlow body. Twice does no harm."""
        self._leave(abandon=False)

    def _leave(self, *, abandon: bool) -> None:
        if not self._active:
            return
        self._active = False
        atexit.unregister(self._abandon)
        _checked(
            "unregistered",
            self.name,
            lambda message: _library().tfgo_unregister_runtime(_c(self.name), int(abandon), message),
        )

    def _abandon(self) -> None:
        self._leave(abandon=True)

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()


def sources() -> tuple[Path, ...]:
    """Return the C++ sources and headers of the op."""
    here = Path(__file__).parent
    return (*sorted(here.glob("*.cc")), *sorted(here.glob("*.h")))


def is_compiled() -> bool:
    """Return whether `load` would find the op compiled for this TensorFlow."""
    return native.is_compiled("engine_op", sources())


def load() -> Path:
    """Compile (on first use) and load the engine op; return the path of its library. Loading again does nothing.

    Raises:
        NativeBuildError: there is no C++ compiler, or the op cannot be compiled or loaded.
    """
    return Path(_library()._name)


def register_runtime(name: str, runtime: Runtime) -> Registration:
    """Let nodes whose attribute ``runtime`` is ``name`` run on a runtime written in Python.

    The runtime is kept alive until it is unregistered and its last engine is gone. What it raises becomes the reason of
    a fallback.

    Raises:
        ConfigError: the name is taken.
    """
    table = runtime_table(runtime)
    try:
        _checked(
            "registered", name, lambda message: _library().tfgo_register_runtime(_c(name), ctypes.byref(table), message)
        )
    except BaseException:
        drop(table)
        raise
    registration = Registration(name)
    # Engines outlive the interpreter (sessions, kernels): by then nothing may call into Python any more.
    atexit.register(registration._abandon)
    return registration


def register_native_runtime(name: str, library_path: Path | str, symbol: str) -> Registration:
    """Let nodes whose attribute ``runtime`` is ``name`` run on a runtime of a shared library.

    Args:
        name: the runtime's name in nodes.
        library_path: a shared library; it is never unloaded.
        symbol: a function ``const TfgoRuntime* f(void)`` that it exports (engine_runtime.h).

    Raises:
        ConfigError: the library or the symbol is not there, the ABI version differs, or the name is taken.
    """
    path = str(library_path)
    _checked(
        "registered",
        name,
        lambda message: _library().tfgo_register_native_runtime(_c(name), _c(path), _c(symbol), message),
    )
    return Registration(name)


def counters() -> dict[str, EngineCounters]:
    """Return the counters of every engine node that has counted something, by node name."""
    seen: dict[str, dict[str, int]] = {}

    def visit(_: int | None, node: bytes, counter: bytes, value: int) -> None:
        seen.setdefault(node.decode(), {})[counter.decode()] = value

    _library().tfgo_visit_counters(_VISITOR(visit), None)
    return {node: _counters(values) for node, values in sorted(seen.items())}


def reset_counters() -> None:
    """Set every counter to zero; a fallback reason that was logged once is logged once more."""
    _library().tfgo_reset_counters()


def live_objects() -> LiveObjects:
    """Return how many engines and contexts exist in this process."""
    engines, contexts = ctypes.c_int64(), ctypes.c_int64()
    _library().tfgo_live_objects(ctypes.byref(engines), ctypes.byref(contexts))
    return LiveObjects(engines.value, contexts.value)


def _counters(values: Mapping[str, int]) -> EngineCounters:
    fallbacks = {key.removeprefix(_FALLBACK): value for key, value in values.items() if key.startswith(_FALLBACK)}
    plain = {key: value for key, value in values.items() if not key.startswith(_FALLBACK)}
    return EngineCounters(fallbacks=fallbacks, **plain)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(native.load_op_library("engine_op", sources())))
    library.tfgo_register_runtime.argtypes = [ctypes.c_char_p, ctypes.POINTER(RuntimeTable), ctypes.POINTER(Message)]
    library.tfgo_register_native_runtime.argtypes = [ctypes.c_char_p] * 3 + [ctypes.POINTER(Message)]
    library.tfgo_unregister_runtime.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(Message)]
    library.tfgo_visit_counters.argtypes = [_VISITOR, ctypes.c_void_p]
    library.tfgo_visit_counters.restype = library.tfgo_reset_counters.restype = library.tfgo_live_objects.restype = None
    library.tfgo_live_objects.argtypes = [ctypes.POINTER(ctypes.c_int64)] * 2
    assert library.tfgo_abi_version() == ABI_VERSION
    return library


def _c(text: str) -> bytes:
    return text.encode()


def _checked(verb: str, name: str, call: Callable[[object], int]) -> None:
    buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
    message = Message(ctypes.addressof(buffer), _MESSAGE_BYTES)
    if call(ctypes.byref(message)) != OK:
        raise ConfigError(f"the engine runtime {name!r} cannot be {verb}", why=buffer.value.decode(errors="replace"))
