// AcmeSoftCap: cap * tanh(x / cap), element by element.
#include <cmath>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace acme {

using namespace tensorflow;

REGISTER_OP("AcmeSoftCap")
    .Input("x: T")
    .Output("y: T")
    .Attr("T: {float} = DT_FLOAT")
    .Attr("cap: float = 30.0")
    .SetShapeFn(shape_inference::UnchangedShape);

class SoftCap : public OpKernel {
 public:
  explicit SoftCap(OpKernelConstruction* construction) : OpKernel(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("cap", &cap_));
    OP_REQUIRES(construction, cap_ > 0, errors::InvalidArgument("cap must be positive, not ", cap_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    auto from = x.flat<float>();
    auto to = y->flat<float>();
    for (int64_t i = 0; i < from.size(); ++i) to(i) = cap_ * std::tanh(from(i) / cap_);
  }

 private:
  float cap_ = 0;
};

REGISTER_KERNEL_BUILDER(Name("AcmeSoftCap").Device(DEVICE_CPU), SoftCap);

}  // namespace acme
