// The op that runs an engine: TRTEngineOp (TF-TRT's name and attributes, so that its SavedModels load again) and TfgraphoptEngineOp, one kernel.
//
// A call takes TensorFlow's stream, the inputs where they are, outputs and scratch from TensorFlow's allocator, and a context from the engine's
// pool. Where no engine can run, the TensorFlow body of the segment runs in its place; that is counted, said once, and refused in strict mode.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "counters.h"
#include "engines.h"
#include "plan.h"
#include "segment_body.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "xla/stream_executor/stream.h"
#include "xla/stream_executor/stream_executor.h"

namespace tfgo {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::PartialTensorShape;
using tensorflow::Tensor;
using tensorflow::TensorShape;

namespace {

absl::Status EngineShape(tensorflow::shape_inference::InferenceContext* context) {
  std::vector<PartialTensorShape> shapes;
  TF_RETURN_IF_ERROR(context->GetAttr("output_shapes", &shapes));
  if (static_cast<int>(shapes.size()) != context->num_outputs()) return tensorflow::shape_inference::UnknownShape(context);
  for (int i = 0; i < context->num_outputs(); ++i) {
    tensorflow::shape_inference::ShapeHandle shape;
    TF_RETURN_IF_ERROR(context->MakeShapeFromPartialTensorShape(shapes[i], &shape));
    context->set_output(i, shape);
  }
  return absl::OkStatus();
}

// TF-TRT's signature, where element types (for the body's sake) and precision mode are not restricted, and five attributes of our own at the end.
tensorflow::OpDefBuilder EngineSignature(const std::string& name) {
  tensorflow::OpDefBuilder op(name);
  op.Attr("serialized_segment: string").Attr("segment_func: func = {}");
  op.Attr("InT: list(type)").Attr("OutT: list(type)");
  op.Attr("input_shapes: list(shape) = []").Attr("output_shapes: list(shape) = []");
  op.Attr("max_cached_engines_count: int = 1").Attr("max_batch_size: int = 1");
  op.Attr("workspace_size_bytes: int").Attr("precision_mode: string");
  op.Attr("calibration_data: string = ''").Attr("use_calibration: bool = true");
  op.Attr("segment_funcdef_name: string = ''").Attr("cached_engine_batches: list(int) >= 0 = []");
  op.Attr("fixed_input_size: bool = true").Attr("static_engine: bool = true");
  op.Attr("profile_strategy: string = ''").Attr("use_explicit_precision: bool = false");
  op.Attr("runtime: string = 'tensorrt'").Attr("plan_path: string = ''").Attr("plan_digest: string = ''").Attr("strict: bool = false");
  op.Attr("body_inputs: int >= 0 = 0");  // so many inputs at the end are for the body alone: variables that it reads its weights from
  op.Input("in_tensor: InT").Output("out_tensor: OutT");
  op.SetShapeFn(EngineShape);
  return op;
}

// TF-TRT's switch: "false" or "0" forbids the TensorFlow body for every engine of the process.
bool FallbackForbidden() {
  const char* allowed = std::getenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION");
  return allowed && (!strcasecmp(allowed, "false") || !strcmp(allowed, "0"));
}

struct CallDevice {
  TfgoDevice device{TFGO_DEVICE_CPU, 0, 0};
  void* stream = nullptr;
  stream_executor::StreamExecutor* executor = nullptr;  // lives as long as the process
};

CallDevice DeviceOf(OpKernelContext* context) {
  tensorflow::DeviceContext* on = context->op_device_context();
  stream_executor::Stream* stream = on ? on->stream() : nullptr;
  if (!stream) return {{TFGO_DEVICE_CPU, 0, context->device()->tensorflow_cpu_worker_threads()->num_threads}};
  return {{TFGO_DEVICE_CUDA, stream->parent()->device_ordinal(), 0}, stream->platform_specific_handle().stream, stream->parent()};
}

// Makes the device's context current while the result lives. StreamExecutor::Activate is younger than TensorFlow 2.18: there it does nothing.
template <typename Executor>
auto Activated(Executor* executor, int) -> decltype(executor->Activate()) {
  return executor->Activate();
}
template <typename Executor>
std::nullptr_t Activated(Executor*, long) {
  return nullptr;
}

Place PlaceOf(const CallDevice& at) {
  if (!at.executor) return {at.device, [](const std::function<void()>& work) { work(); }};
  return {at.device, [executor = at.executor](const std::function<void()>& work) {
            [[maybe_unused]] const auto current = Activated(executor, 0);
            executor->SynchronizeAllActivity();
            work();
          }};
}

// Fills a TfgoTensor; false where the rank is beyond the ABI.
bool Describe(const Tensor& tensor, bool on_host, TfgoTensor* out) {
  if (tensor.dims() > TFGO_MAX_RANK) return false;
  out->dtype = tensor.dtype();
  out->rank = tensor.dims();
  for (int d = 0; d < tensor.dims(); ++d) out->dims[d] = tensor.dim_size(d);
  out->data = const_cast<char*>(tensor.tensor_data().data());
  out->on_host = on_host;
  return true;
}

std::string ShapesText(OpKernelContext* context) {
  std::string text;
  for (int i = 0; i < context->num_inputs(); ++i) text += (i ? ", " : "") + context->input(i).shape().DebugString();
  return text;
}

}  // namespace

class EngineOp : public tensorflow::AsyncOpKernel {
 public:
  explicit EngineOp(OpKernelConstruction* context)
      : AsyncOpKernel(context), counters_(CounterTable::Global().Of(name())), body_(BodyOf(context)), strict_(FallbackForbidden()) {
    bool strict = false;
    OP_REQUIRES_OK(context, context->GetAttr("runtime", &runtime_));
    OP_REQUIRES_OK(context, context->GetAttr("plan_path", &plan_.path));
    OP_REQUIRES_OK(context, context->GetAttr("plan_digest", &plan_.digest));
    OP_REQUIRES_OK(context, context->GetAttr("strict", &strict));
    int body_inputs = 0;
    OP_REQUIRES_OK(context, context->GetAttr("body_inputs", &body_inputs));
    OP_REQUIRES(context, body_inputs <= num_inputs(), absl::InvalidArgumentError("body_inputs is larger than the number of inputs"));
    engine_inputs_ = num_inputs() - body_inputs;
    OP_REQUIRES_OK(context, context->GetAttr("output_shapes", &output_shapes_));
    strict_ = strict_ || strict;
    // The plan is not copied: the node's own definition holds it as long as the kernel lives.
    plan_.serialized = def().attr().at("serialized_segment").s();
    if (static_cast<int>(output_shapes_.size()) != num_outputs()) output_shapes_.clear();
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    const std::optional<Refusal> refusal = RunEngine(context);
    if (!refusal) {
      ++counters_->engine_runs;
      return done();
    }
    RunBody(context, *refusal, std::move(done));
  }

 private:
  struct Held {
    uint64_t generation = 0;
    std::shared_ptr<Engine> engine;
    std::optional<Refusal> refusal;
  };

  static tensorflow::NameAttrList BodyOf(OpKernelConstruction* context) {
    tensorflow::NameAttrList function;
    std::string old_name;
    context->GetAttr("segment_func", &function).IgnoreError();
    context->GetAttr("segment_funcdef_name", &old_name).IgnoreError();
    if (function.name().empty()) function.set_name(old_name);
    return function;
  }

  // Runs the engine and sets the outputs; or says why not, having set nothing.
  std::optional<Refusal> RunEngine(OpKernelContext* context) {
    const CallDevice at = DeviceOf(context);
    std::optional<Refusal> refusal;
    const std::shared_ptr<Engine> engine = HeldEngine(at, &refusal);
    if (!engine) return refusal;
    std::vector<TfgoTensor> inputs(engine_inputs_);
    if ((refusal = CheckInputs(context, *engine, at, &inputs))) return refusal;
    if ((refusal = CheckOutputMemory(context, *engine, at))) return refusal;
    const auto resolution = engine->Resolve(inputs);
    if ((refusal = CheckResolution(context, *engine, *resolution))) return refusal;
    return Enqueue(context, engine.get(), at, inputs, *resolution);
  }

  // The engine of this kernel, made on the first call; asked again only when a runtime was registered or unregistered since.
  std::shared_ptr<Engine> HeldEngine(const CallDevice& at, std::optional<Refusal>* refusal) {
    const uint64_t now = RuntimeTable::Global().generation();
    {
      tensorflow::tf_shared_lock lock(held_mutex_);
      if (held_.generation == now) return *refusal = held_.refusal, held_.engine;
    }
    std::lock_guard<std::mutex> making(making_mutex_);
    {
      tensorflow::tf_shared_lock lock(held_mutex_);
      if (held_.generation == now) return *refusal = held_.refusal, held_.engine;
    }
    Held fresh{now, nullptr, std::nullopt};
    fresh.engine = MakeEngine(at, &fresh.refusal);
    *refusal = fresh.refusal;
    std::shared_ptr<Engine> engine = fresh.engine;
    tensorflow::mutex_lock lock(held_mutex_);
    std::swap(held_, fresh);
    return engine;  // the former engine goes with `fresh`, which is destroyed after the lock
  }

  std::shared_ptr<Engine> MakeEngine(const CallDevice& at, std::optional<Refusal>* refusal) {
    if (plan_.serialized.empty() && plan_.path.empty()) return *refusal = Refusal{kNoPlan, ""}, nullptr;
    const auto runtime = RuntimeTable::Global().Find(runtime_);
    if (!runtime) return *refusal = Refusal{kNoRuntime, "\"" + runtime_ + "\""}, nullptr;
    Plan plan;
    if ((*refusal = ReadPlan(plan_, &plan))) return nullptr;
    Refusal why;
    auto engine = EngineTable::Global().Get(runtime, plan.digest, plan.bytes, PlaceOf(at), counters_.get(), &why);
    if (!engine) return *refusal = why, nullptr;
    *refusal = CheckSignature(*engine);
    return *refusal ? nullptr : engine;
  }

  std::optional<Refusal> CheckSignature(const Engine& engine) const {
    const tensorflow::DataTypeVector inputs(input_types().begin(), input_types().begin() + engine_inputs_);
    if (SameTypes(engine.input_dtypes(), inputs) && SameTypes(engine.output_dtypes(), output_types())) return std::nullopt;
    return Refusal{kSignature, "the number or the types of its inputs or outputs differ"};
  }

  static bool SameTypes(const std::vector<int32_t>& engine, const tensorflow::DataTypeVector& node) {
    return std::equal(engine.begin(), engine.end(), node.begin(), node.end(), [](int32_t a, tensorflow::DataType b) { return a == int32_t{b}; });
  }

  std::optional<Refusal> CheckInputs(OpKernelContext* context, const Engine& engine, const CallDevice& at, std::vector<TfgoTensor>* inputs) {
    for (int i = 0; i < engine_inputs_; ++i) {
      const bool on_host = at.device.kind == TFGO_DEVICE_CPU || context->input_memory_type(i) == tensorflow::HOST_MEMORY;
      if (engine.input_on_host(i) != on_host && at.device.kind != TFGO_DEVICE_CPU)
        return Refusal{kSignature, "input " + std::to_string(i) + " is in the wrong memory; list it in the attribute _input_hostmem of the node, or not"};
      if (!Describe(context->input(i), on_host, &(*inputs)[i]))
        return Refusal{kNoFit, "input " + std::to_string(i) + " has more than " + std::to_string(TFGO_MAX_RANK) + " dimensions"};
    }
    return std::nullopt;
  }

  std::optional<Refusal> CheckOutputMemory(OpKernelContext* context, const Engine& engine, const CallDevice& at) const {
    for (int i = 0; at.device.kind != TFGO_DEVICE_CPU && i < context->num_outputs(); ++i)
      if (engine.output_on_host(i) != (context->output_memory_type(i) == tensorflow::HOST_MEMORY))
        return Refusal{kSignature, "output " + std::to_string(i) + " is in the wrong memory; list it in the attribute _output_hostmem of the node, or not"};
    return std::nullopt;
  }

  std::optional<Refusal> CheckResolution(OpKernelContext* context, const Engine& engine, const Resolution& resolution) const {
    if (resolution.status == TFGO_DOES_NOT_FIT) return Refusal{kNoFit, "input shapes " + ShapesText(context) + ": " + resolution.why};
    if (resolution.status != TFGO_OK) return Refusal{kRunFailed, resolution.why};
    for (int i = 0; i < context->num_outputs(); ++i) {
      const TfgoTensor& output = resolution.outputs[i];
      TensorShape shape;
      const bool legal = output.rank >= 0 && output.rank <= TFGO_MAX_RANK && TensorShape::BuildTensorShape({output.dims, static_cast<size_t>(output.rank)}, &shape).ok();
      if (!legal || (!output_shapes_.empty() && !output_shapes_[i].IsCompatibleWith(shape)))
        return Refusal{kSignature, "the engine gives output " + std::to_string(i) + " the shape " + shape.DebugString() + ", which the node does not have"};
    }
    return std::nullopt;
  }

  std::optional<Refusal> Enqueue(OpKernelContext* context, Engine* engine, const CallDevice& at, const std::vector<TfgoTensor>& inputs,
                                 const Resolution& resolution) {
    // Outputs are handed over only after the engine has run, so that the TensorFlow body can still set them where it has not.
    std::vector<Tensor> results(context->num_outputs());
    std::vector<TfgoTensor> outputs(context->num_outputs());
    Tensor scratch;
    const absl::Status allocated = Allocate(context, at, resolution, &results, &outputs, &scratch);
    if (!allocated.ok()) return Refusal{kRunFailed, allocated.ToString()};
    std::string why;
    const ContextLease lease = engine->Borrow(resolution.profile, at.stream, counters_.get(), &why);
    if (!lease.get()) return Refusal{kRunFailed, why};
    void* scratch_data = resolution.scratch_bytes ? const_cast<char*>(scratch.tensor_data().data()) : nullptr;
    const TfgoCall call{sizeof(TfgoCall), at.stream,    inputs.data(),            static_cast<int32_t>(inputs.size()), outputs.data(),
                        static_cast<int32_t>(outputs.size()), scratch_data, resolution.scratch_bytes, resolution.profile};
    if (engine->Enqueue(lease.get(), call, &why) != TFGO_OK) return Refusal{kRunFailed, why};
    for (int i = 0; i < context->num_outputs(); ++i) context->set_output(i, results[i]);
    return std::nullopt;
  }

  absl::Status Allocate(OpKernelContext* context, const CallDevice& at, const Resolution& resolution, std::vector<Tensor>* results,
                        std::vector<TfgoTensor>* outputs, Tensor* scratch) const {
    for (int i = 0; i < context->num_outputs(); ++i) {
      const bool on_host = at.device.kind == TFGO_DEVICE_CPU || context->output_memory_type(i) == tensorflow::HOST_MEMORY;
      const TfgoTensor& wanted = resolution.outputs[i];
      TensorShape shape;
      TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape({wanted.dims, static_cast<size_t>(wanted.rank)}, &shape));
      TF_RETURN_IF_ERROR(context->allocate_temp(output_type(i), shape, &(*results)[i], context->output_alloc_attr(i)));
      Describe((*results)[i], on_host, &(*outputs)[i]);
    }
    if (resolution.scratch_bytes == 0) return absl::OkStatus();
    return context->allocate_temp(tensorflow::DT_INT8, TensorShape({static_cast<int64_t>(resolution.scratch_bytes)}), scratch);
  }

  void RunBody(OpKernelContext* context, const Refusal& refusal, DoneCallback done) {
    const uint64_t before = counters_->fallbacks[refusal.reason]++;
    const ReasonText& reason = kReasons[refusal.reason];
    const std::string why = std::string(reason.what) + (refusal.detail.empty() ? "" : ": " + refusal.detail) + "; what to do: " + reason.hint;
    OP_REQUIRES_ASYNC(context, !strict_, absl::AbortedError(name() + " may not run its TensorFlow body (strict), and no engine can run: " + why), done);
    OP_REQUIRES_ASYNC(context, body_.exists(),
                      absl::FailedPreconditionError(name() + " has no TensorFlow body (attribute segment_func), and no engine can run: " + why), done);
    if (before == 0) LOG(WARNING) << "tfgraphopt: " << name() << " runs its TensorFlow body, not an engine: " << why << " (said once)";
    body_.Run(context, std::move(done));
  }

  const std::shared_ptr<Counters> counters_;
  SegmentBody body_;
  PlanAttributes plan_;
  std::string runtime_;
  int engine_inputs_ = 0;
  bool strict_;
  std::vector<PartialTensorShape> output_shapes_;

  std::mutex making_mutex_;  // held while the engine is made; only calls that find none wait for it
  mutable tensorflow::mutex held_mutex_;
  Held held_;
};

namespace {

tensorflow::OpKernel* MakeKernel(OpKernelConstruction* context) { return new EngineOp(context); }

// A TensorFlow that still has TF-TRT owns the op TRTEngineOp and its kernels: they are left alone.
bool Register(const char* op) {
  const tensorflow::OpRegistrationData* known = nullptr;
  if (tensorflow::OpRegistry::Global()->LookUp(op, &known).ok()) return false;
  tensorflow::OpRegistry::Global()->Register(
      [op](tensorflow::OpRegistrationData* data) { return EngineSignature(op).Finalize(data); });
  for (const char* device : {tensorflow::DEVICE_CPU, tensorflow::DEVICE_GPU}) {
    tensorflow::kernel_factory::OpKernelRegistrar registrar(tensorflow::KernelDefBuilder(op).Device(device).Build(), "EngineOp", MakeKernel);
  }
  return true;
}

const bool registered_trt = Register("TRTEngineOp");
const bool registered_own = Register("TfgraphoptEngineOp");

}  // namespace
}  // namespace tfgo
