// A TensorFlow that still has TF-TRT, as far as the op registry is concerned: TRTEngineOp belongs to somebody else.
#include "tensorflow/core/framework/op.h"

REGISTER_OP("TRTEngineOp").Attr("serialized_segment: string").Input("x: float").Output("y: float");
