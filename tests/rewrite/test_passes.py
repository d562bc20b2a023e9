"""The shipped passes under the laws of ``pass_contract``, each over every op that the strategies know."""

from __future__ import annotations

from hypothesis import strategies as st

from rewrite import recipes
from tfgraphopt.testing.contracts import pass_contract
from tfgraphopt.testing.strategies import modules
from tfgraphopt.transforms.canonicalize import Canonicalize
from tfgraphopt.transforms.cse import CommonSubexpressionElimination
from tfgraphopt.transforms.dead_code import DeadCodeElimination
from tfgraphopt.transforms.fold_constants import FoldConstants
from tfgraphopt.transforms.fuse import Fuse
from tfgraphopt.transforms.identity import RemoveIdentity
from tfgraphopt.transforms.infer_types import InferTypes
from tfgraphopt.transforms.inline_functions import InlineFunctions

test_canonicalize = pass_contract(Canonicalize)
test_cse = pass_contract(CommonSubexpressionElimination)
test_dce = pass_contract(DeadCodeElimination)
test_remove_identity = pass_contract(RemoveIdentity)
test_infer_types = pass_contract(InferTypes)
test_inline_functions = pass_contract(InlineFunctions)
test_fold_constants = pass_contract(FoldConstants)
test_fuse = pass_contract(
    Fuse, rtol=1e-2, atol=1e-2,
    graphs=st.one_of(modules(ops=["MatMul", "BiasAdd", "Relu", "Maximum", "Transpose"], max_size=6),
                     recipes.having(recipes.keras_batch_norm), recipes.having(recipes.bias_bias)),
)  # fmt: skip
