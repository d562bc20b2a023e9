"""What is installed, what would run and what is missing: findings of plugins, for ``tfgraphopt doctor``."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt import native
from tfgraphopt.errors import NativeBuildError
from tfgraphopt.plugins import Tables

STATES = ("ok", "note", "missing", "problem")
HOOK = "tfgraphopt_diagnoses"


@attrs.frozen(slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        subject: what it is about (``"TensorFlow"``, ``"GPU"``).
        state: ``ok``; ``note`` for what is worth knowing; ``missing`` for something optional that is not installed; ``problem`` for
            what keeps something that is installed from working.
        text: what was found.
        hint: what to do about it.
    """

    subject: str
    state: str = attrs.field(validator=attrs.validators.in_(STATES))
    text: str
    hint: str = ""


@attrs.frozen(slots=True)
class Diagnosis:
    """Something to look into: ``check(tables)`` gives what it finds, with the plugins of ``tables`` loaded.

    A check that raises is a finding too. Diagnoses of a lower ``order`` come first.
    """

    name: str
    check: Callable[[Tables], Iterable[Finding]]
    order: int = 100
    overrides: str = ""


def diagnose(tables: Tables) -> list[Finding]:
    """The findings of every diagnosis that plugins contribute, and of plugins that failed to load."""
    found = [Finding("plugin", "problem", str(f), "reinstall or remove it") for f in tables.failures]
    diagnoses: list[Diagnosis] = sorted(tables.items(HOOK), key=lambda d: d.order)
    return [*(f for d in diagnoses for f in _checked(d, tables)), *found]


def _checked(diagnosis: Diagnosis, tables: Tables) -> list[Finding]:
    try:
        return list(diagnosis.check(tables))
    except Exception as error:  # a broken installation breaks in any way; the other diagnoses matter all the more
        text = f"it cannot be looked into: {type(error).__name__}: {error}"
        return [Finding(diagnosis.name, "problem", text)]


# -- what the framework itself knows -----------------------------------------------------------------------------------------


def check_python(tables: Tables) -> Iterator[Finding]:
    """Versions of Python, tfgraphopt and TensorFlow."""
    import tensorflow as tf

    version = importlib.metadata.version("tfgraphopt")
    yield Finding("Python", "ok", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")
    yield Finding("tfgraphopt", "ok", f"{version}, plugins {', '.join(p.name for p in tables.plugins)}")
    built = tf.sysconfig.get_build_info()
    cuda = f", built for CUDA {built['cuda_version']}" if "cuda_version" in built else ", built without CUDA"
    yield Finding("TensorFlow", "ok", f"{tf.__version__}{cuda}")


def check_gpu(tables: Tables) -> Iterator[Finding]:
    """The GPUs that TensorFlow sees, and those that it should see."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    for device in devices:
        details: dict[str, Any] = tf.config.experimental.get_device_details(device)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        yield Finding("GPU", "ok", f"{details.get('device_name', device.name)}, compute capability {capability}")
    driver = Path("/proc/driver/nvidia/version")
    if not devices and driver.exists():
        text = f"there is a driver ({driver.read_text().splitlines()[0]}), but TensorFlow sees no GPU"
        yield Finding("GPU", "problem", text, 'pip install "tensorflow[and-cuda]", and look at CUDA_VISIBLE_DEVICES')
    elif not devices:
        yield Finding("GPU", "note", "none: engines can be built for other machines, and CPU engines run here")


def check_compiler(tables: Tables) -> Iterator[Finding]:
    """The C++ compiler that the ops are compiled with on first use."""
    import tensorflow as tf

    compiled = sorted(p.name.partition("-")[0] for p in native.cache_dir().glob(f"*-{tf.__version__}-*.so"))
    held = f"{native.cache_dir()}, for this TensorFlow: {', '.join(dict.fromkeys(compiled)) or 'none yet'}"
    try:
        tools = native.toolchain()
        yield Finding("C++ compiler", "ok", f"{tools.compiler}, {tools.compiler_version.splitlines()[0]}")
    except NativeBuildError as error:
        state = "note" if compiled else "problem"
        yield Finding("C++ compiler", state, f"{error.what}: {error.why}", error.hint)
    yield Finding("op cache", "ok", held)


DIAGNOSES = (
    Diagnosis("versions", check_python, 0), Diagnosis("gpu", check_gpu, 1), Diagnosis("compiler", check_compiler, 2),
)  # fmt: skip
