"""The one door to PyCUDA: imported when it is needed, and one clear error where it cannot work."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from tfgraphopt.errors import MissingDependency

_WHAT = "PyCUDA cannot be used"
_INSTALL = 'pip install "tfgraphopt[pycuda]" (it compiles PyCUDA: the CUDA toolkit and a C++ compiler have to be there)'
_DRIVER = "install NVIDIA's driver, or run on a machine with an NVIDIA GPU"


def load() -> Any:
    """Return the module ``pycuda.driver``, initialised.

    Raises:
        MissingDependency: PyCUDA is not installed, or there is no driver or no GPU; ``why`` says which.
    """
    driver = _driver()
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise MissingDependency(_WHAT, why=f"CUDA does not start: {error}", hint=_DRIVER) from error
    if count == 0:
        raise MissingDependency(_WHAT, why="there is no GPU", hint=_DRIVER)
    return driver


def unusable() -> str | None:
    """Return why PyCUDA cannot be used here, or None where it can."""
    try:
        load()
    except MissingDependency as error:
        return error.why
    return None


def is_absent() -> bool:
    """Whether the package is not installed at all."""
    return importlib.util.find_spec("pycuda") is None


def compiler() -> Any:
    """Return the module ``pycuda.compiler``; raises as `load`."""
    load()
    return importlib.import_module("pycuda.compiler")


def _driver() -> Any:
    if is_absent():
        raise MissingDependency(_WHAT, why="the package pycuda is not installed", hint=_INSTALL)
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as error:  # no libcuda.so.1, or PyCUDA was compiled for another one
        raise MissingDependency(_WHAT, why=f"its library does not load: {error}", hint=_DRIVER) from error
