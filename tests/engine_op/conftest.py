"""The engine op, loaded once, with clean counters for each test; and the runtimes of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_op.scale_python import ScaleRuntime

from tfgraphopt.native import build_op_library
from tfgraphopt_trt import engine_op as eo

HERE = Path(__file__).parent
HEADER = Path(eo.__file__).parent / "engine_runtime.h"


@pytest.fixture(scope="session")
def scale_library() -> Path:
    """The compiled native runtime of the tests."""
    return build_op_library("test_scale_runtime", [HERE / "scale_runtime.cc", HEADER])


@pytest.fixture(autouse=True)
def clean_counters() -> None:
    """Start each test with the op loaded and no counts."""
    eo.load()
    eo.reset_counters()


@pytest.fixture(params=["native", "python"])
def scale(request: pytest.FixtureRequest, scale_library: Path) -> Iterator[str]:
    """The name of a registered scale runtime: the native one, then the Python one."""
    name = f"scale-{request.param}"
    native = request.param == "native"
    with (
        eo.register_native_runtime(name, scale_library, "scale_runtime")
        if native
        else eo.register_runtime(name, ScaleRuntime())
    ):
        yield name
