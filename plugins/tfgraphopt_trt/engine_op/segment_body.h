// Runs the TensorFlow body of a segment: the function that computes what the engine would have computed.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_SEGMENT_BODY_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_SEGMENT_BODY_H_

#include <map>
#include <string>

#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tfgo {

// The body is instantiated once per function runtime, as a multi-device function that Grappler optimises under the session's own configuration:
// what a call op of TensorFlow gets. A function that is merely named in an attribute of an op would run unoptimised (see docs/explanation).
class SegmentBody {
 public:
  explicit SegmentBody(tensorflow::NameAttrList function) : function_(std::move(function)) {}
  ~SegmentBody();

  bool exists() const { return !function_.name().empty(); }

  // Runs the body on the kernel's inputs and sets the kernel's outputs or its status; then calls `done`.
  void Run(tensorflow::OpKernelContext* context, tensorflow::AsyncOpKernel::DoneCallback done);

 private:
  using Handle = tensorflow::FunctionLibraryRuntime::Handle;

  absl::Status Instantiate(tensorflow::OpKernelContext* context, Handle* handle);
  absl::Status Options(tensorflow::OpKernelContext* context, tensorflow::FunctionLibraryRuntime::InstantiateOptions* options);

  const tensorflow::NameAttrList function_;
  tensorflow::mutex mutex_;
  std::map<tensorflow::FunctionLibraryRuntime*, Handle> handles_;
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_SEGMENT_BODY_H_
