#include "segment_body.h"

#include <memory>
#include <utility>
#include <vector>

#include "tensorflow/core/common_runtime/device_mgr.h"
#include "tensorflow/core/framework/device.h"
#include "tensorflow/core/framework/resource_handle.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/meta_optimizer.h"
#include "tensorflow/core/protobuf/config.pb.h"

namespace tfgo {

using tensorflow::FunctionLibraryRuntime;
using tensorflow::OpKernelContext;

namespace {

// Grappler as the function runtime wants it: with the body's own name and the session's configuration.
void OptimizeLikeACall(const std::string& name, const tensorflow::ConfigProto& config, FunctionLibraryRuntime::InstantiateOptions* options) {
  tensorflow::grappler::GrapplerItem::OptimizationOptions rewriting;
  rewriting.allow_pruning_stateful_and_dataset_ops = true;  // the runtime has pruned the body to what its results need
  rewriting.optimize_function_library = false;              // functions the body calls are optimised when they are instantiated
  options->optimize_graph_fn = [name, config, rewriting](std::vector<std::string> results, std::vector<std::string> keep,
                                                         tensorflow::FunctionLibraryDefinition* library, const tensorflow::DeviceSet& devices,
                                                         tensorflow::Device* cpu, std::unique_ptr<tensorflow::Graph>* graph) {
    return tensorflow::grappler::OptimizeGraph(std::move(results), std::move(keep), library, devices, cpu, config, name, rewriting, graph);
  };
}

std::string CpuName(FunctionLibraryRuntime* library) {
  tensorflow::Device* cpu = nullptr;
  const bool found = library->device_mgr() && library->device_mgr()->LookupDevice("CPU:0", &cpu).ok();
  return found ? cpu->name() : library->device()->name();
}

// Where an input lives: a resource where its handle says, a tensor on the device of the kernel or, by registration, on the host.
void DescribeInput(OpKernelContext* context, int i, const std::string& cpu, FunctionLibraryRuntime::InstantiateOptions* options) {
  if (context->input_dtype(i) == tensorflow::DT_RESOURCE) {
    const auto& handle = context->input(i).flat<tensorflow::ResourceHandle>()(0);
    options->input_devices.push_back(handle.device());
    const auto& known = handle.dtypes_and_shapes();
    if (known.size() == 1) options->input_resource_dtypes_and_shapes[i] = known[0];
    return;
  }
  const bool on_host = context->input_memory_type(i) == tensorflow::HOST_MEMORY;
  options->input_devices.push_back(on_host ? cpu : context->function_library()->device()->name());
}

bool OnGpu(OpKernelContext* context) { return context->op_device_context() && context->op_device_context()->stream(); }

// A function that returns an int32 which one of its ops leaves in host memory (a shape) is refused by TensorFlow when that result is to be on
// a GPU. So a body returns such types on the host, and they are copied to where the kernel owes them.
bool IsCopied(OpKernelContext* context, int i) {
  return OnGpu(context) && context->expected_output_dtype(i) == tensorflow::DT_INT32 && context->output_memory_type(i) == tensorflow::DEVICE_MEMORY;
}

// Sets the outputs from number `from` on.
void Deliver(OpKernelContext* context, std::shared_ptr<std::vector<tensorflow::Tensor>> results, int from, tensorflow::AsyncOpKernel::DoneCallback done) {
  for (int i = from; i < context->num_outputs(); ++i) {
    const tensorflow::Tensor& result = (*results)[i];
    if (!IsCopied(context, i)) {
      context->set_output(i, result);
      continue;
    }
    auto copy = std::make_shared<tensorflow::Tensor>();
    OP_REQUIRES_OK_ASYNC(context, context->allocate_temp(result.dtype(), result.shape(), copy.get(), context->output_alloc_attr(i)), done);
    const auto next = [context, results, i, copy, done](const absl::Status& copied) {
      OP_REQUIRES_OK_ASYNC(context, copied, done);
      context->set_output(i, *copy);
      Deliver(context, results, i + 1, done);
    };
    return context->op_device_context()->CopyCPUTensorToDevice(&result, context->function_library()->device(), copy.get(), next);
  }
  done();
}

FunctionLibraryRuntime::Options RunOptions(OpKernelContext* context) {
  FunctionLibraryRuntime::Options options;
  options.cancellation_manager = context->cancellation_manager();
  options.collective_executor = context->collective_executor();
  options.stats_collector = context->stats_collector();
  options.runner = context->runner();
  options.run_all_kernels_inline = context->run_all_kernels_inline();
  options.source_device = context->function_library()->device()->name();
  options.create_rendezvous = true;  // the body's own transfers must not meet the caller's
  return options;
}

}  // namespace

SegmentBody::~SegmentBody() {
  for (const auto& [library, handle] : handles_) library->ReleaseHandle(handle).IgnoreError();
}

absl::Status SegmentBody::Options(OpKernelContext* context, FunctionLibraryRuntime::InstantiateOptions* options) {
  FunctionLibraryRuntime* library = context->function_library();
  const std::string cpu = CpuName(library);
  options->target = library->device()->name();
  options->is_multi_device_function = true;
  // On a GPU integers stay where the kernel has them: which ones are on the host is said by the node (_input_hostmem), not by their type.
  // On a CPU there is one memory, and TensorFlow refuses the flag for a result that is the shape of something.
  options->int_args_and_retvals_on_device = OnGpu(context);
  for (int i = 0; i < context->num_inputs(); ++i) DescribeInput(context, i, cpu, options);
  for (int i = 0; i < context->num_outputs(); ++i)
    options->output_devices.push_back(context->output_memory_type(i) == tensorflow::HOST_MEMORY || IsCopied(context, i) ? cpu : options->target);
  if (library->config_proto()) options->config_proto = *library->config_proto();
  OptimizeLikeACall(function_.name(), options->config_proto, options);
  return absl::OkStatus();
}

absl::Status SegmentBody::Instantiate(OpKernelContext* context, Handle* handle) {
  FunctionLibraryRuntime* library = context->function_library();
  if (!library || !library->device()) return absl::FailedPreconditionError("there is no function runtime to run the segment's TensorFlow body in");
  tensorflow::mutex_lock lock(mutex_);
  const auto known = handles_.find(library);
  if (known != handles_.end()) return *handle = known->second, absl::OkStatus();
  FunctionLibraryRuntime::InstantiateOptions options;
  TF_RETURN_IF_ERROR(Options(context, &options));
  TF_RETURN_IF_ERROR(library->Instantiate(function_.name(), tensorflow::AttrSlice(&function_.attr()), options, handle));
  handles_[library] = *handle;
  return absl::OkStatus();
}

void SegmentBody::Run(OpKernelContext* context, tensorflow::AsyncOpKernel::DoneCallback done) {
  Handle handle;
  OP_REQUIRES_OK_ASYNC(context, Instantiate(context, &handle), done);
  FunctionLibraryRuntime* library = context->function_library();
  std::vector<tensorflow::Tensor> inputs;
  for (int i = 0; i < context->num_inputs(); ++i) inputs.push_back(context->input(i));
  FunctionLibraryRuntime::Options options = RunOptions(context);
  tensorflow::ResourceMgr* resources = library->device()->resource_manager();
  auto container = std::make_shared<tensorflow::ScopedStepContainer>(
      options.step_id, [resources](const std::string& name) { resources->Cleanup(name).IgnoreError(); });
  options.step_container = container.get();
  auto results = std::make_shared<std::vector<tensorflow::Tensor>>();
  library->Run(options, handle, inputs, results.get(),
               [context, container, results, done = std::move(done)](const absl::Status& status) {
                 OP_REQUIRES_OK_ASYNC(context, status, done);
                 OP_REQUIRES_ASYNC(context, static_cast<int>(results->size()) == context->num_outputs(),
                                   absl::InternalError("the segment's TensorFlow body has another number of results than its node"), done);
                 Deliver(context, results, 0, done);
               });
}

}  // namespace tfgo
