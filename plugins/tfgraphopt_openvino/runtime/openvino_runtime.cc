// The engine runtime "openvino": runs plans (plan.h) on the CPU through OpenVINO's C interface.
//
// An engine reads its model once. Each variant of the plan, a range of shapes, is compiled when a context of it is first asked for (the first
// one, which is to be the fastest, when the engine is made). A context is one infer request; inputs and outputs are TensorFlow's own memory.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "engine_runtime.h"
#include "openvino_library.h"
#include "plan.h"

namespace tfgo_openvino {
namespace {

// What tfgo_openvino_open has set; never freed, because kernels may outlive static destruction.
struct Host {
  Functions ov;
  ov_core_t* core = nullptr;
  std::string threads;
};

Host* host = nullptr;
std::mutex opening;

struct Failure {
  std::string text;
};

void Check(ov_status_e status, const char* what) {
  if (status == ov_status_e::OK) return;
  const char* said = host->ov.ov_get_last_err_msg();
  std::string text = std::string("OpenVINO cannot ") + what + ": " + host->ov.ov_get_error_info(status);
  if (said && *said) text += std::string(": ") + said;
  throw Failure{text};
}

struct TypeOf {
  int32_t tensorflow;  // tensorflow/core/framework/types.proto
  ov_element_type_e openvino;
};

constexpr TypeOf kTypes[] = {{1, F32}, {3, I32}, {4, U8}, {6, I8}, {9, I64}, {10, OV_BOOLEAN}, {14, BF16}, {19, F16}};

ov_element_type_e ElementType(int32_t number) {
  for (const TypeOf& type : kTypes) {
    if (type.tensorflow == number) return type.openvino;
  }
  throw Failure{"the plan has tensors of TensorFlow's type " + std::to_string(number) + ", which OpenVINO does not run"};
}

using Model = Owned<ov_model_t>;
using Compiled = Owned<ov_compiled_model_t>;

class Engine {
 public:
  Engine(std::string_view bytes, int32_t threads)
      : threads_(!host->threads.empty() ? host->threads : threads > 0 ? std::to_string(threads) : ""), model_(nullptr, host->ov.ov_model_free), weights_(nullptr, host->ov.ov_tensor_free) {
    auto plan = ParsePlan(bytes);
    if (!plan) throw Failure{"this is no OpenVINO plan, or one of another version of tfgraphopt"};
    plan_ = *plan;
    for (int32_t type : plan_.inputs) ElementType(type);
    for (int32_t type : plan_.outputs) ElementType(type);
    Read();
    for (size_t i = 0; i < plan_.variants.size(); ++i) compiled_.emplace_back(nullptr, host->ov.ov_compiled_model_free);
    if (!compiled_.empty()) CompiledFor(0);
    plan_.xml = plan_.weights = {};  // the bytes belong to the caller
  }

  const Plan& plan() const { return plan_; }

  // The first variant that takes the shapes; -1 where none does.
  int32_t VariantFor(const TfgoTensor* inputs) const {
    const auto fits = [&](const Variant& variant) {
      for (size_t i = 0; i < variant.size(); ++i) {
        if (static_cast<size_t>(inputs[i].rank) != variant[i].size()) return false;
        for (int d = 0; d < inputs[i].rank; ++d) {
          if (!variant[i][d].Holds(inputs[i].dims[d])) return false;
        }
      }
      return true;
    };
    const auto at = std::find_if(plan_.variants.begin(), plan_.variants.end(), fits);
    return at == plan_.variants.end() ? -1 : static_cast<int32_t>(at - plan_.variants.begin());
  }

  // Fills the outputs' dimensions for inputs of given shapes.
  void InferShapes(const TfgoTensor* inputs, TfgoTensor* outputs) {
    Variant shapes;
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      shapes.emplace_back();
      for (int d = 0; d < inputs[i].rank; ++d) shapes.back().push_back({inputs[i].dims[d], inputs[i].dims[d]});
    }
    std::lock_guard<std::mutex> lock(model_mutex_);
    Reshape(shapes);
    for (size_t i = 0; i < plan_.outputs.size(); ++i) OutputShape(i, &outputs[i]);
  }

  Owned<ov_infer_request_t> NewRequest(int32_t variant) {
    ov_infer_request_t* request = nullptr;
    Check(host->ov.ov_compiled_model_create_infer_request(CompiledFor(variant), &request), "make an infer request");
    return {request, host->ov.ov_infer_request_free};
  }

 private:
  // The constants are copied once; the model and what is compiled of it read that copy.
  void Read() {
    ov_tensor_t* weights = nullptr;
    const int64_t size = static_cast<int64_t>(plan_.weights.size());
    if (size > 0) {
      const int64_t dims[] = {size};
      Check(host->ov.ov_tensor_create(U8, ov_shape_t{1, const_cast<int64_t*>(dims)}, &weights), "allocate the constants");
      weights_.reset(weights);
      void* data = nullptr;
      Check(host->ov.ov_tensor_data(weights, &data), "allocate the constants");
      std::memcpy(data, plan_.weights.data(), plan_.weights.size());
    }
    ov_model_t* model = nullptr;
    Check(host->ov.ov_core_read_model_from_memory_buffer(host->core, plan_.xml.data(), plan_.xml.size(), weights, &model), "read the model");
    model_.reset(model);
    size_t inputs = 0, outputs = 0;
    Check(host->ov.ov_model_inputs_size(model, &inputs), "read the model");
    Check(host->ov.ov_model_outputs_size(model, &outputs), "read the model");
    if (inputs != plan_.inputs.size() || outputs != plan_.outputs.size()) throw Failure{"the plan and its model differ in inputs or outputs"};
  }

  // Requires model_mutex_ (or a lone constructor).
  void Reshape(const Variant& shapes) {
    std::vector<size_t> ports;
    std::vector<ov_partial_shape_t> wanted;
    const auto release = [&](void*) { for (auto& shape : wanted) host->ov.ov_partial_shape_free(&shape); };
    std::unique_ptr<void, decltype(release)> guard(this, release);
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (shapes[i].empty()) continue;  // a scalar has one shape, and OpenVINO's C interface cannot make it
      std::vector<ov_dimension_t> dims;
      for (const Range& range : shapes[i]) dims.push_back({range.min, range.max});
      wanted.emplace_back();
      const ov_status_e made = host->ov.ov_partial_shape_create(static_cast<int64_t>(dims.size()), dims.data(), &wanted.back());
      if (made != ov_status_e::OK) wanted.pop_back();
      Check(made, "make a shape");
      ports.push_back(i);
    }
    if (ports.empty()) return;
    Check(host->ov.ov_model_reshape_by_port_indexes(model_.get(), ports.data(), wanted.data(), ports.size()), "infer shapes");
  }

  void OutputShape(size_t index, TfgoTensor* output) {
    ov_output_const_port_t* port = nullptr;
    Check(host->ov.ov_model_const_output_by_index(model_.get(), index, &port), "infer shapes");
    Owned<ov_output_const_port_t> owned(port, host->ov.ov_output_const_port_free);
    ov_partial_shape_t shape{};
    Check(host->ov.ov_port_get_partial_shape(port, &shape), "infer shapes");
    Owned<ov_partial_shape_t> freed(&shape, host->ov.ov_partial_shape_free);
    if (shape.rank.min != shape.rank.max || shape.rank.max > TFGO_MAX_RANK) throw Failure{"the rank of output " + std::to_string(index) + " is not known"};
    output->rank = static_cast<int32_t>(shape.rank.max);
    for (int d = 0; d < output->rank; ++d) {
      if (shape.dims[d].min != shape.dims[d].max) throw Failure{"the shape of output " + std::to_string(index) + " depends on the data"};
      output->dims[d] = shape.dims[d].max;
    }
  }

  const ov_compiled_model_t* CompiledFor(int32_t variant) {
    std::lock_guard<std::mutex> lock(model_mutex_);
    Compiled& compiled = compiled_.at(variant);
    if (!compiled) {
      Reshape(plan_.variants[variant]);
      compiled.reset(Compile());
    }
    return compiled.get();
  }

  // OpenVINO takes properties as a variable number of arguments: a fixed number of them is passed, the last one repeated.
  ov_compiled_model_t* Compile() {
    std::map<std::string, std::string> properties = plan_.properties;
    if (!threads_.empty()) properties.emplace("INFERENCE_NUM_THREADS", threads_);
    std::vector<const char*> a;
    for (const auto& [name, value] : properties) a.insert(a.end(), {name.c_str(), value.c_str()});
    if (a.size() > kArguments) throw Failure{"the plan has more than " + std::to_string(kArguments / 2) + " properties"};
    while (a.size() < kArguments) a.insert(a.end(), {a[a.size() - 2], a[a.size() - 1]});
    ov_compiled_model_t* compiled = nullptr;
    Check(host->ov.ov_core_compile_model(host->core, model_.get(), "CPU", kArguments, &compiled, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8],
                                         a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23]),
          "compile the model");
    return compiled;
  }

  static constexpr size_t kArguments = 24;

  const std::string threads_;  // of one inference; "": OpenVINO's choice
  Plan plan_;
  std::mutex model_mutex_;  // a reshape is of the one model
  Model model_;
  Owned<ov_tensor_t> weights_;
  std::vector<Compiled> compiled_;
};

Owned<ov_tensor_t> Wrap(const TfgoTensor& tensor) {
  ov_tensor_t* made = nullptr;
  const ov_shape_t shape{tensor.rank, const_cast<int64_t*>(tensor.dims)};
  Check(host->ov.ov_tensor_create_from_host_ptr(ElementType(tensor.dtype), shape, tensor.data, &made), "take a tensor");
  return {made, host->ov.ov_tensor_free};
}

bool SamePlace(const TfgoTensor& a, const TfgoTensor& b) {
  return a.data == b.data && a.rank == b.rank && std::equal(a.dims, a.dims + a.rank, b.dims);
}

// An infer request and where its tensors are. TensorFlow's allocator tends to hand out the same memory again: what has stayed in its place is
// not told to OpenVINO anew.
class Context {
 public:
  Context(Engine* engine, int32_t variant)
      : request_(engine->NewRequest(variant)), inputs_(engine->plan().inputs.size(), kNowhere), outputs_(engine->plan().outputs.size(), kNowhere) {}

  void Run(const TfgoCall& call) {
    for (int i = 0; i < call.num_inputs; ++i) Place(host->ov.ov_infer_request_set_input_tensor_by_index, i, call.inputs[i], &inputs_[i]);
    for (int i = 0; i < call.num_outputs; ++i) Place(host->ov.ov_infer_request_set_output_tensor_by_index, i, call.outputs[i], &outputs_[i]);
    Check(host->ov.ov_infer_request_infer(request_.get()), "run");
  }

 private:
  static constexpr TfgoTensor kNowhere{0, -1, {}, nullptr, 0};

  template <typename Set>
  void Place(Set set, int index, const TfgoTensor& tensor, TfgoTensor* last) {
    if (SamePlace(tensor, *last)) return;
    *last = kNowhere;
    Check(set(request_.get(), index, Wrap(tensor).get()), "take a tensor");
    *last = tensor;
  }

  Owned<ov_infer_request_t> request_;
  std::vector<TfgoTensor> inputs_, outputs_;
};

// No function of the table may throw.
template <typename Result, typename Work>
Result Guarded(Result failed, TfgoMessage* message, Work work) {
  try {
    return work();
  } catch (const Failure& failure) {
    tfgo_say(message, failure.text.c_str());
  } catch (const std::exception& error) {
    tfgo_say(message, error.what());
  }
  return failed;
}

void* CreateEngine(void*, const void* plan, size_t size, const TfgoDevice* device, TfgoMessage* message) {
  return Guarded<void*>(nullptr, message, [&]() -> void* {
    if (device->kind != TFGO_DEVICE_CPU) throw Failure{"OpenVINO plans run on the CPU; place the node there"};
    return new Engine({static_cast<const char*>(plan), size}, device->threads);
  });
}

int32_t Describe(void* engine, TfgoEngineInfo* info, TfgoMessage*) {
  const Plan& plan = static_cast<Engine*>(engine)->plan();
  info->num_inputs = static_cast<int32_t>(plan.inputs.size());
  info->num_outputs = static_cast<int32_t>(plan.outputs.size());
  info->num_profiles = static_cast<int32_t>(plan.variants.size());
  info->input_dtypes = plan.inputs.data();
  info->output_dtypes = plan.outputs.data();
  return TFGO_OK;
}

int32_t Resolve(void* handle, const TfgoTensor* inputs, int32_t, TfgoResolution* resolution, TfgoMessage* message) {
  return Guarded<int32_t>(TFGO_ERROR, message, [&]() -> int32_t {
    auto* engine = static_cast<Engine*>(handle);
    resolution->profile = engine->VariantFor(inputs);
    if (resolution->profile < 0) return tfgo_say(message, "the model was optimised for other shapes"), TFGO_DOES_NOT_FIT;
    engine->InferShapes(inputs, resolution->outputs);
    return TFGO_OK;
  });
}

void* CreateContext(void* engine, int32_t variant, TfgoMessage* message) {
  return Guarded<void*>(nullptr, message, [&] { return new Context(static_cast<Engine*>(engine), variant); });
}

int32_t Enqueue(void* context, const TfgoCall* call, TfgoMessage* message) {
  return Guarded<int32_t>(TFGO_ERROR, message, [&] { return static_cast<Context*>(context)->Run(*call), TFGO_OK; });
}

void DestroyContext(void* context) { delete static_cast<Context*>(context); }
void DestroyEngine(void* engine) { delete static_cast<Engine*>(engine); }

const TfgoRuntime kRuntime = {TFGO_ENGINE_ABI_VERSION, sizeof(TfgoRuntime), nullptr, CreateEngine, Describe, Resolve, CreateContext, Enqueue,
                              DestroyContext, DestroyEngine, nullptr};

}  // namespace
}  // namespace tfgo_openvino

#define TFGO_EXPORT extern "C" __attribute__((visibility("default")))

// Opens OpenVINO's C library. `threads`: threads of one inference ("": as many as TensorFlow gives one operation).
TFGO_EXPORT int32_t tfgo_openvino_open(const char* library, const char* threads, TfgoMessage* message) {
  using namespace tfgo_openvino;
  std::lock_guard<std::mutex> lock(opening);
  if (host) return TFGO_OK;
  auto made = std::make_unique<Host>();
  made->threads = threads;
  const std::string problem = OpenFunctions(library, &made->ov);
  if (!problem.empty()) return tfgo_say(message, problem.c_str()), TFGO_ERROR;
  if (made->ov.ov_core_create(&made->core) != ov_status_e::OK) return tfgo_say(message, made->ov.ov_get_last_err_msg()), TFGO_ERROR;
  host = made.release();
  return TFGO_OK;
}

TFGO_EXPORT const TfgoRuntime* tfgo_openvino_runtime(void) { return tfgo_openvino::host ? &tfgo_openvino::kRuntime : nullptr; }
