"""TensorRT's calibration caches: text, a header line, then ``tensor: hex`` with the bits of a big-endian float32, the step."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically

_LEVELS = 127
_LINE = re.compile(r"^(?P<name>.+): (?P<bits>[0-9a-fA-F]{8})$")
_HEADER = "TRT-101300-EntropyCalibration2"


def read_cache(path: Path | str) -> dict[str, float]:
    """The largest magnitude of every tensor in a calibration cache (127 steps).

    Raises:
        ConfigError: the file is no calibration cache; names the line.
    """
    try:
        header, *lines = Path(path).read_text().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a TensorRT calibration cache", why=str(error)) from error
    if not header.startswith("TRT-"):
        raise ConfigError(f"{path} is no TensorRT calibration cache", why=f"it begins with {header[:40]!r}")
    found = {}
    for number, line in enumerate(lines, start=2):
        if line.strip():
            name, amax = _entry(line, f"{path}:{number}")
            found[name] = amax
    return found


def _entry(line: str, where: str) -> tuple[str, float]:
    match = _LINE.match(line.strip())
    step = struct.unpack(">f", bytes.fromhex(match["bits"]))[0] if match else -1.0
    if match is None or not 0 <= step < float("inf"):
        raise ConfigError("this is no line of a TensorRT calibration cache", where=[where], why=line[:80])
    return match["name"], step * _LEVELS


def write_cache(path: Path | str, amax: Mapping[str, float], header: str = _HEADER) -> None:
    """Write ranges as a calibration cache."""
    lines = [f"{name}: {struct.pack('>f', value / _LEVELS).hex()}" for name, value in amax.items()]
    write_atomically(Path(path), "\n".join([header, *lines, ""]).encode())
