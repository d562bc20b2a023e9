"""The framework's own generic passes, contributed as a plugin like any other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass

if TYPE_CHECKING:
    from tfgraphopt.caches import ManagedCache
    from tfgraphopt.diagnosis import Diagnosis
    from tfgraphopt.rewrite import Pattern


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """The generic passes."""
    from tfgraphopt.transforms.canonicalize import Canonicalize
    from tfgraphopt.transforms.cse import CommonSubexpressionElimination
    from tfgraphopt.transforms.dead_code import DeadCodeElimination
    from tfgraphopt.transforms.fold_constants import FoldConstants
    from tfgraphopt.transforms.fuse import Fuse
    from tfgraphopt.transforms.identity import RemoveIdentity
    from tfgraphopt.transforms.infer_types import InferTypes
    from tfgraphopt.transforms.inline_functions import InlineFunctions
    from tfgraphopt.transforms.specialise_functions import SpecialiseFunctions

    return [
        Canonicalize, CommonSubexpressionElimination, DeadCodeElimination, FoldConstants, Fuse, InferTypes, InlineFunctions, RemoveIdentity,
        SpecialiseFunctions,
    ]  # fmt: skip


@hookimpl
def tfgraphopt_patterns() -> Iterable[Pattern]:
    """The rules that "canonicalize" and "fuse" apply."""
    from tfgraphopt.transforms.patterns.catalogue import PATTERNS

    return PATTERNS


@hookimpl
def tfgraphopt_caches() -> Iterable[ManagedCache]:
    """The compiled ops."""
    from tfgraphopt.caches import directory_cache
    from tfgraphopt.native import cache_dir

    return [directory_cache("ops", cache_dir, "*.so")]


@hookimpl
def tfgraphopt_diagnoses() -> Iterable[Diagnosis]:
    """Versions, GPUs, the compiler."""
    from tfgraphopt.diagnosis import DIAGNOSES

    return DIAGNOSES
