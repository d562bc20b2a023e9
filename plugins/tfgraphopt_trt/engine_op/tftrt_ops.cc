// The ops besides TRTEngineOp that SavedModels written by TF-TRT (TensorFlow up to 2.17) hold, so that they load again.
//
// Their engine files are plans of TensorRT 7 or 8, which no TensorRT of today reads: the initialiser names the file and goes on, and the nodes run
// their native segments, until the model is optimised afresh.
#include <initializer_list>
#include <string>

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tfgo {

namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

constexpr char kContainer[] = "TF-TRT";

// What a handle stands for: nothing, for plans of old are not run.
class OldEngines : public tensorflow::ResourceBase {
 public:
  std::string DebugString() const override { return "engines of TF-TRT, which are not run"; }
};

class CreateHandle : public tensorflow::OpKernel {
 public:
  explicit CreateHandle(OpKernelConstruction* context) : OpKernel(context) { OP_REQUIRES_OK(context, context->GetAttr("resource_name", &name_)); }

  void Compute(OpKernelContext* context) override {
    Tensor* handle = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &handle));
    handle->scalar<tensorflow::ResourceHandle>()() = tensorflow::MakeResourceHandle<OldEngines>(context, kContainer, name_);
  }

 private:
  std::string name_;
};

class Initialize : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& file = context->input(1);
    OP_REQUIRES(context, file.NumElements() == 1, absl::InvalidArgumentError("a file name must be one string, not " + file.shape().DebugString()));
    LOG_FIRST_N(WARNING, 1) << "tfgraphopt: the engines in " << std::string(file.flat<tensorflow::tstring>()(0))
                            << " were built by TF-TRT for TensorRT 8 or older and are not run; the TensorFlow bodies of their nodes are. "
                               "What to do: optimise the model again with tfgraphopt.optimize() (said once)";
  }
};

class Refuse : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    context->SetStatus(absl::UnimplementedError(type_string() + " belongs to TF-TRT, whose engine cache does not exist any more; what to do: use " +
                                                "tfgraphopt.optimize() and its result's save(), or tfgraphopt.compat.trt_convert"));
  }
};

bool IsNew(const char* op) {
  const tensorflow::OpRegistrationData* known = nullptr;
  return !tensorflow::OpRegistry::Global()->LookUp(op, &known).ok();
}

void RegisterOp(const tensorflow::OpDefBuilder& builder) {
  tensorflow::OpRegistry::Global()->Register([builder](tensorflow::OpRegistrationData* data) { return builder.Finalize(data); });
}

template <typename Kernel>
void RegisterKernels(const char* op, std::initializer_list<const char*> on_host) {
  for (const char* device : {tensorflow::DEVICE_CPU, tensorflow::DEVICE_GPU}) {
    tensorflow::KernelDefBuilder kernel(op);
    kernel.Device(device);
    for (const char* argument : on_host) kernel.HostMemory(argument);
    tensorflow::kernel_factory::OpKernelRegistrar registrar(kernel.Build(), op, [](OpKernelConstruction* context) -> tensorflow::OpKernel* { return new Kernel(context); });
  }
}

// A TensorFlow that still has TF-TRT owns these ops and their kernels: they are left alone.
bool Register() {
  using tensorflow::shape_inference::NoOutputs;
  using tensorflow::shape_inference::ScalarShape;
  if (!IsNew("CreateTRTResourceHandle")) return false;
  RegisterOp(tensorflow::OpDefBuilder("CreateTRTResourceHandle").Attr("resource_name: string").Output("resource_handle: resource").SetIsStateful().SetShapeFn(ScalarShape));
  RegisterOp(tensorflow::OpDefBuilder("InitializeTRTResource")
                 .Attr("max_cached_engines_count: int = 1")
                 .Input("resource_handle: resource")
                 .Input("filename: string")
                 .SetIsStateful()
                 .SetShapeFn(NoOutputs));
  RegisterOp(tensorflow::OpDefBuilder("SerializeTRTResource")
                 .Attr("delete_resource: bool = false")
                 .Attr("save_gpu_specific_engines: bool = true")
                 .Input("resource_name: string")
                 .Input("filename: string")
                 .SetIsStateful()
                 .SetShapeFn(NoOutputs));
  RegisterOp(tensorflow::OpDefBuilder("GetCalibrationDataOp").Input("resource_name: string").Output("serialized_resource: string").SetIsStateful().SetShapeFn(ScalarShape));
  RegisterKernels<CreateHandle>("CreateTRTResourceHandle", {"resource_handle"});
  RegisterKernels<Initialize>("InitializeTRTResource", {"resource_handle", "filename"});
  RegisterKernels<Refuse>("SerializeTRTResource", {"resource_name", "filename"});
  RegisterKernels<Refuse>("GetCalibrationDataOp", {"resource_name", "serialized_resource"});
  return true;
}

const bool registered = Register();

}  // namespace
}  // namespace tfgo
