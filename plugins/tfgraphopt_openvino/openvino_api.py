"""The only place that imports OpenVINO, and where its libraries lie."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import MissingDependency

NAME = "openvino"
"""What the kind of engine and its runtime are called."""
_INSTALL = 'pip install "tfgraphopt[openvino]"'


@attrs.frozen(slots=True)
class OpenVino:
    """The OpenVINO of this environment.

    Attributes:
        module: ``openvino``.
        ops: the operation set that models are written in.
        build: the version with the build, which is what a plan depends on.
    """

    module: Any
    ops: Any
    build: str

    @property
    def version(self) -> str:
        """The version for people."""
        return self.build.partition("-")[0]


def load() -> OpenVino:
    """Import OpenVINO.

    Raises:
        MissingDependency: it is not installed, or cannot be imported.
    """
    try:
        module: Any = importlib.import_module("openvino")
        ops: Any = importlib.import_module("openvino.opset15")
    except ImportError as error:
        raise MissingDependency("OpenVINO is not installed", why=str(error), hint=_INSTALL) from error
    return OpenVino(module, ops, module.get_version())


def package() -> Path | None:
    """The directory of the installed package (nothing is imported), or None."""
    spec = importlib.util.find_spec("openvino")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def c_library(directory: Path) -> Path | None:
    """The library with OpenVINO's C interface in package ``directory``, or None."""
    found = [p for pattern in ("libopenvino_c.so*", "libopenvino_c*.dylib") for p in (directory / "libs").glob(pattern)]
    return min(found, default=None)


def unusable() -> str | None:
    """Why models cannot be built here, or None when they can."""
    return None if package() is not None else "OpenVINO is not installed"
