"""Writing a SavedModel directory so that nobody ever sees half of one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfgraphopt.errors import ConfigError
from tfgraphopt.formats.saved_model import FILE


def write_directory(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a new directory, and put it at ``path`` when it is complete.

    A SavedModel that was there is replaced; for the moment between two renames there is none.

    Raises:
        ConfigError: something else is there.
    """
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / FILE).exists())):
        raise ConfigError(f"{path} exists and is no SavedModel", hint="choose another directory, or remove it yourself")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:16]}-", suffix=".part"))
    made = scratch / "new"
    made.mkdir()
    try:
        write(made)
        if path.exists():
            path.rename(scratch / "old")
        try:
            made.rename(path)
        except OSError:
            if (scratch / "old").exists():
                (scratch / "old").rename(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
