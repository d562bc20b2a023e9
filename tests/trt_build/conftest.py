"""What the bindings of every TensorRT at hand offer: those that the environment names, and the installed one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tfgraphopt_trt.tensorrt_api import load
from trt_build.bindings_facts import describe, facts_of

VARIABLE = "TFGRAPHOPT_TENSORRT_BINDINGS"
DIRECTORIES = [Path(d) for d in os.environ.get(VARIABLE, "").split(os.pathsep) if d]


def read(directory: Path | None) -> dict[str, Any]:
    """The facts of the bindings in ``directory``; the test is skipped where there are none."""
    if directory is None:
        pytest.skip(f"{VARIABLE} names no directory with bindings of tensorrt 10.x or 11.x (tox installs them)")
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which makes the stub libraries, is not installed")
    return facts_of(directory)


@pytest.fixture(scope="session", params=DIRECTORIES or [None], ids=lambda d: d.name if d else "none")
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The facts of each version that is not installed."""
    return read(request.param)


@pytest.fixture(
    scope="session", params=[*(DIRECTORIES or [None]), "installed"], ids=lambda d: getattr(d, "name", str(d))
)
def any_facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The facts of each version, the installed one included."""
    return describe(load().module) if request.param == "installed" else read(request.param)
