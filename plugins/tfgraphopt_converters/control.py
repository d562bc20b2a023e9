"""Ops that stay in TensorFlow, with the reason that the report gives."""

from __future__ import annotations

from collections.abc import Mapping

from tfgraphopt_trt.converter import Converter, never

_RANDOM = "its random numbers could not be reproduced: TensorRT's generator is another one"
_UNIQUE = "the number of its results depends on the data, and TensorRT has no layer for it"
_SEGMENT = "TensorRT's scatter keeps one of several updates of an element; segments add, multiply or compare them"
_STITCH = "which rows go where is data, and TensorRT has no layer for it"
_QUANTISED = (
    "TensorRT quantises between floats and int8 within a network; it has no tensors of TensorFlow's quantised types"
)
_STATE = "it reads or changes state outside of the graph, which an engine cannot"
_REPORT = "it reports at run time; it stays in TensorFlow, beside the engine"

REASONS: Mapping[str, tuple[str, ...]] = {
    "it computes nothing; it only orders other nodes": ("NoOp",),
    _REPORT: ("Assert", "Print", "PrintV2", "StringFormat", "Abort"),
    _RANDOM: (
        "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle", "Multinomial",
        "RandomGamma", "RandomPoissonV2", "StatelessRandomUniform", "StatelessRandomUniformV2", "StatelessRandomNormal",
        "StatelessRandomNormalV2", "StatelessTruncatedNormal", "StatelessTruncatedNormalV2", "StatelessMultinomial",
        "ParameterizedTruncatedNormal",
    ),
    _UNIQUE: ("Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2", "ListDiff"),
    _SEGMENT: (
        "SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd", "SegmentSumV2", "SegmentMaxV2",
        "SegmentMinV2", "SegmentProdV2", "UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin",
        "UnsortedSegmentProd", "SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN",
    ),
    _STITCH: ("DynamicPartition", "DynamicStitch", "ParallelDynamicStitch"),
    _STATE: (
        "ResourceGather", "ResourceGatherNd", "ReadVariableOp", "VariableV2", "VarHandleOp", "AssignVariableOp",
        "Assign", "LookupTableFindV2", "HashTableV2",
    ),
    "TensorFlow computes on the host where pieces lie that it concatenates; it belongs to gradients": (
        "ConcatOffset",
    ),
    _QUANTISED: ("QuantizeV2", "Dequantize", "Requantize", "UniformQuantize", "UniformDequantize"),
    "TensorRT takes boxes, not overlaps": ("NonMaxSuppressionWithOverlaps",),
    "TensorRT has no strings": (
        "AsString", "StringJoin", "StringSplitV2", "RegexReplace", "DecodeJpeg", "DecodePng", "DecodeRaw",
    ),
}  # fmt: skip
"""Ops by the reason why they are not converted."""


CONVERTERS: tuple[Converter, ...] = tuple(never(reason, *ops) for reason, ops in REASONS.items())
