"""All rules of the framework, for the built-in plugin to list."""

from __future__ import annotations

from tfgraphopt.rewrite import Pattern
from tfgraphopt.transforms.patterns import activations, arithmetic, folding, lists, movement, strength

CANONICAL: tuple[Pattern, ...] = (
    movement.MergeTransposes(), movement.DropIdentityTranspose(), movement.MergeReshapes(), movement.DropReshape(),
    movement.DropReshapeToOwnShape(), movement.CancelSqueeze(), movement.CancelExpandDims(), movement.DropSqueeze(),
    movement.DropPad(), movement.DropSlice(), movement.DropStridedSlice(), movement.DropBroadcast(), movement.DropTile(),
    movement.DropReverse(), movement.DropSelect(),
    lists.DropSplit(), lists.CancelConcatOfSplit(), lists.CancelUnpackOfPack(), lists.CancelPackOfUnpack(),
    lists.PickFromPack(), lists.DropAddN(), lists.AddNOfTwo(),
    arithmetic.NeutralInteger(), arithmetic.NeutralLogical(), arithmetic.DoubleNegation(), arithmetic.Idempotent(),
    arithmetic.ReluBeforeRelu6(), arithmetic.SignBeforeEven(), arithmetic.DivideByPowerOfTwo(), arithmetic.NegatedComparison(),
    arithmetic.ReduceNothing(), arithmetic.DropCast(), arithmetic.MergeCasts(),
)  # fmt: skip
"""Rules that change no bit of any result; hosted by "canonicalize"."""

FUSING: tuple[Pattern, ...] = (
    folding.FoldScale(), folding.FoldScaleThroughBias(), folding.MergeBiases(), folding.ShiftToBias(),
    folding.SplitBatchNorm(), folding.FoldPad(),
    strength.NeutralFloat(), strength.MergeScales(), strength.SquareOfProduct(), strength.PowerToProduct(),
    strength.SquaredDifference(), strength.DivideBySqrt(), strength.TransposeIntoMatmul(),
    activations.ReluFromMaximum(), activations.Relu6FromMinimum(), activations.LeakyReluFromMaximum(),
    activations.SigmoidFromExp(), activations.SoftmaxFromExp(), activations.LogSoftmaxFromExp(),
)  # fmt: skip
"""Rules that may change the last bits; hosted by "fuse"."""

PATTERNS: tuple[Pattern, ...] = (*CANONICAL, *FUSING)
"""Every rule of the framework."""
