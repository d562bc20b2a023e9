"""Directories that plans may be loaded from: plans are executable code, so nobody else may be able to put one there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tfgraphopt.errors import ConfigError

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def check_trusted(directory: Path) -> None:
    """ConfigError when another user could change what lies in ``directory``, or replace the directory itself.

    The directory must belong to this user (or root) and be writable by nobody else; so must its parents, except that a
    parent with the sticky bit, such as /tmp, may be writable by all.
    """
    directory = directory.resolve()
    reason = _directory_risk(directory)
    for parent in directory.parents:
        reason = reason or _parent_risk(parent)
    if reason:
        raise ConfigError(
            f"engine plans are not loaded from {directory}",
            why=f"{reason}, and a plan is executable code",
            hint=f"chmod go-w {directory}, or set TFGRAPHOPT_CACHE_DIR to a directory that only you can write",
        )


def is_trusted_file(path: Path) -> bool:
    """Whether ``path`` is a plain file of this user (or root) that nobody else can write."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and _is_ours(status) and not status.st_mode & _OTHERS


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.getuid())


def _directory_risk(path: Path) -> str:
    status = path.stat()
    if not _is_ours(status):
        return f"{path} belongs to another user"
    return f"other users can write to {path}" if status.st_mode & _OTHERS else ""


def _parent_risk(path: Path) -> str:
    status = path.stat()
    if not _is_ours(status):
        return f"{path} belongs to another user"
    loose = status.st_mode & _OTHERS and not status.st_mode & stat.S_ISVTX
    return f"other users can replace what lies in {path}" if loose else ""
