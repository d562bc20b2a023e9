// TfgraphoptRegisterPlans: run by the initialiser of a SavedModel, says where its plan files (assets) lie.
#include <string>
#include <vector>

#include "plan_files.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfgo {

namespace {

class RegisterPlans : public tensorflow::OpKernel {
 public:
  explicit RegisterPlans(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("digests", &digests_));
    OP_REQUIRES(context, static_cast<int>(digests_.size()) == num_inputs(),
                absl::InvalidArgumentError("there are " + std::to_string(num_inputs()) + " files and " + std::to_string(digests_.size()) + " digests"));
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    for (int i = 0; i < context->num_inputs(); ++i) {
      const tensorflow::Tensor& name = context->input(i);
      OP_REQUIRES(context, name.NumElements() == 1, absl::InvalidArgumentError("a file name must be one string, not " + name.shape().DebugString()));
      PlanFiles::Global().Add(digests_[i], std::string(name.flat<tensorflow::tstring>()(0)));
    }
  }

 private:
  std::vector<std::string> digests_;
};

REGISTER_OP("TfgraphoptRegisterPlans")
    .Attr("N: int >= 1")
    .Attr("digests: list(string)")
    .Input("filenames: N * string")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(Name("TfgraphoptRegisterPlans").Device(tensorflow::DEVICE_CPU), RegisterPlans);

}  // namespace
}  // namespace tfgo
