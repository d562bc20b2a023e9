#include "engines.h"

#include <dlfcn.h>

#include <exception>

namespace tfgo {
namespace {

constexpr size_t kMessageBytes = 2048;
constexpr size_t kRememberedResolutions = 256;
constexpr int32_t kMostTensors = 4096;

std::atomic<int64_t> live_engines{0}, live_contexts{0};

// A message buffer with its text. A runtime that fails silently still gets one.
class Message {
 public:
  TfgoMessage* raw() { return &raw_; }
  std::string Text() const { return buffer_[0] ? std::string(buffer_) : "the engine runtime gave no reason"; }

 private:
  char buffer_[kMessageBytes] = {0};
  TfgoMessage raw_{buffer_, kMessageBytes};
};

// Calls into a runtime. The ABI forbids exceptions; one that comes all the same must not take the process down.
template <typename Result, typename Call>
Result Guarded(Result failed, TfgoMessage* message, Call call) {
  try {
    return call();
  } catch (const std::exception& error) {
    tfgo_say(message, error.what());
  } catch (...) {
    tfgo_say(message, "the engine runtime threw something that is no std::exception");
  }
  return failed;
}

std::vector<int64_t> ShapeKey(const std::vector<TfgoTensor>& tensors) {
  std::vector<int64_t> key;
  key.reserve(tensors.size() * 5);
  for (const TfgoTensor& tensor : tensors) {
    key.push_back(tensor.rank);
    key.insert(key.end(), tensor.dims, tensor.dims + tensor.rank);
  }
  return key;
}

bool BadCount(int32_t count) { return count < 0 || count > kMostTensors; }

std::vector<bool> Flags(const uint8_t* flags, int32_t count) {
  return flags ? std::vector<bool>(flags, flags + count) : std::vector<bool>(count, false);
}

const char* MissingFunction(const TfgoRuntime& t) {
  if (!t.create_engine) return "create_engine";
  if (!t.describe) return "describe";
  if (!t.resolve) return "resolve";
  if (!t.create_context) return "create_context";
  if (!t.enqueue) return "enqueue";
  if (!t.destroy_context) return "destroy_context";
  return t.destroy_engine ? nullptr : "destroy_engine";
}

int32_t Fail(TfgoMessage* message, const std::string& text) {
  tfgo_say(message, text.c_str());
  return TFGO_ERROR;
}

}  // namespace

Runtime::~Runtime() {
  if (abandoned_ || !table_.release) return;
  Guarded(0, nullptr, [&] { return table_.release(table_.self), 0; });
}

RuntimeTable& RuntimeTable::Global() {
  static RuntimeTable* table = new RuntimeTable;
  return *table;
}

int32_t RuntimeTable::Register(const std::string& name, const TfgoRuntime& table, TfgoMessage* message) {
  if (table.abi_version != TFGO_ENGINE_ABI_VERSION)
    return Fail(message, "the runtime speaks version " + std::to_string(table.abi_version) + " of the engine ABI, this library version " +
                             std::to_string(TFGO_ENGINE_ABI_VERSION));
  if (table.struct_size < sizeof(TfgoRuntime)) return Fail(message, "the runtime's table is too small");
  if (const char* missing = MissingFunction(table)) return Fail(message, std::string("the runtime has no function ") + missing);
  std::lock_guard<std::mutex> lock(mutex_);
  if (runtimes_.count(name)) return Fail(message, "an engine runtime is already registered under the name " + name);
  runtimes_[name] = std::make_shared<Runtime>(table);
  ++generation_;
  return TFGO_OK;
}

int32_t RuntimeTable::Unregister(const std::string& name, bool abandon, TfgoMessage* message) {
  std::shared_ptr<Runtime> gone;  // destroyed after the lock: its release may call into Python
  std::lock_guard<std::mutex> lock(mutex_);
  const auto at = runtimes_.find(name);
  if (at == runtimes_.end()) return Fail(message, "no engine runtime is registered under the name " + name);
  gone = at->second;
  if (abandon) gone->Abandon();
  runtimes_.erase(at);
  ++generation_;
  return TFGO_OK;
}

std::shared_ptr<Runtime> RuntimeTable::Find(const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto at = runtimes_.find(name);
  return at == runtimes_.end() ? nullptr : at->second;
}

ContextLease& ContextLease::operator=(ContextLease&& other) {
  std::swap(engine_, other.engine_);
  std::swap(profile_, other.profile_);
  std::swap(stream_, other.stream_);
  std::swap(context_, other.context_);
  return *this;
}

ContextLease::~ContextLease() {
  if (context_) engine_->Return(profile_, stream_, context_);
}

Engine::Engine(std::shared_ptr<Runtime> runtime, const Place& place, void* handle)
    : runtime_(std::move(runtime)), place_(place), handle_(handle) {
  ++live_engines;
}

Engine::~Engine() {
  if (!runtime_->abandoned()) place_.quietly([this] { Destroy(); });
  for (const auto& [key, contexts] : pool_) live_contexts -= static_cast<int64_t>(contexts.size());
  --live_engines;
}

void Engine::Destroy() {
  const TfgoRuntime& table = runtime_->table();
  for (const auto& [key, contexts] : pool_)
    for (void* context : contexts) Guarded(0, nullptr, [&] { return table.destroy_context(context), 0; });
  Guarded(0, nullptr, [&] { return table.destroy_engine(handle_), 0; });
}

std::shared_ptr<Engine> Engine::Create(std::shared_ptr<Runtime> runtime, std::string_view plan, const Place& place, Refusal* refusal) {
  Message message;
  const TfgoRuntime& table = runtime->table();
  void* handle =
      Guarded<void*>(nullptr, message.raw(), [&] { return table.create_engine(table.self, plan.data(), plan.size(), &place.device, message.raw()); });
  if (!handle) {
    *refusal = {kPlanRefused, message.Text()};
    return nullptr;
  }
  std::shared_ptr<Engine> engine(new Engine(std::move(runtime), place, handle));
  std::string why;
  if (!engine->Describe(&why)) {
    *refusal = {kPlanRefused, why};
    return nullptr;
  }
  return engine;
}

bool Engine::Describe(std::string* why) {
  Message message;
  TfgoEngineInfo info{};
  info.struct_size = sizeof(info);
  const int32_t status = Guarded<int32_t>(TFGO_ERROR, message.raw(), [&] { return runtime_->table().describe(handle_, &info, message.raw()); });
  if (status != TFGO_OK) {
    *why = message.Text();
    return false;
  }
  if (BadCount(info.num_inputs) || BadCount(info.num_outputs)) {
    *why = "the engine describes itself with an impossible number of inputs or outputs";
    return false;
  }
  input_dtypes_.assign(info.input_dtypes, info.input_dtypes + info.num_inputs);
  output_dtypes_.assign(info.output_dtypes, info.output_dtypes + info.num_outputs);
  input_on_host_ = Flags(info.input_on_host, info.num_inputs);
  output_on_host_ = Flags(info.output_on_host, info.num_outputs);
  for (bool on_host : input_on_host_) resolves_by_shape_ = resolves_by_shape_ && !on_host;
  return true;
}

std::shared_ptr<const Resolution> Engine::Resolve(const std::vector<TfgoTensor>& inputs) {
  if (!resolves_by_shape_) return AskResolution(inputs);
  std::vector<int64_t> key = ShapeKey(inputs);
  {
    std::shared_lock<std::shared_mutex> lock(resolutions_mutex_);
    const auto at = resolutions_.find(key);
    if (at != resolutions_.end()) return at->second;
  }
  auto resolution = AskResolution(inputs);  // without the lock: it may wait for an interpreter
  if (resolution->status == TFGO_ERROR) return resolution;
  std::unique_lock<std::shared_mutex> lock(resolutions_mutex_);
  if (resolutions_.size() >= kRememberedResolutions) resolutions_.clear();
  resolutions_[std::move(key)] = resolution;
  return resolution;
}

std::shared_ptr<const Resolution> Engine::AskResolution(const std::vector<TfgoTensor>& inputs) {
  auto answer = std::make_shared<Resolution>();
  answer->outputs.assign(output_dtypes_.size(), TfgoTensor{});
  for (size_t i = 0; i < output_dtypes_.size(); ++i) answer->outputs[i].dtype = output_dtypes_[i];
  TfgoResolution raw{sizeof(TfgoResolution), 0, 0, answer->outputs.data()};
  std::vector<TfgoTensor> readable = inputs;
  for (TfgoTensor& tensor : readable) tensor.data = tensor.on_host ? tensor.data : nullptr;
  Message message;
  answer->status = Guarded<int32_t>(TFGO_ERROR, message.raw(), [&] {
    return runtime_->table().resolve(handle_, readable.data(), static_cast<int32_t>(readable.size()), &raw, message.raw());
  });
  if (answer->status != TFGO_OK) answer->why = message.Text();
  answer->profile = raw.profile;
  answer->scratch_bytes = raw.scratch_bytes;
  return answer;
}

ContextLease Engine::Borrow(int32_t profile, void* stream, Counters* counters, std::string* why) {
  {
    std::lock_guard<std::mutex> lock(pool_mutex_);
    auto& idle = pool_[{profile, stream}];
    if (!idle.empty()) {
      void* context = idle.back();
      idle.pop_back();
      return ContextLease(this, profile, stream, context);
    }
  }
  Message message;
  void* context = Guarded<void*>(nullptr, message.raw(), [&] { return runtime_->table().create_context(handle_, profile, message.raw()); });
  if (!context) {
    *why = message.Text();
    return ContextLease();
  }
  ++counters->contexts_created;
  ++live_contexts;
  return ContextLease(this, profile, stream, context);
}

void Engine::Return(int32_t profile, void* stream, void* context) {
  std::lock_guard<std::mutex> lock(pool_mutex_);
  pool_[{profile, stream}].push_back(context);
}

int32_t Engine::Enqueue(void* context, const TfgoCall& call, std::string* why) {
  Message message;
  const int32_t status = Guarded<int32_t>(TFGO_ERROR, message.raw(), [&] { return runtime_->table().enqueue(context, &call, message.raw()); });
  if (status != TFGO_OK) *why = message.Text();
  return status;
}

void Engine::Live(int64_t* engines, int64_t* contexts) {
  *engines = live_engines;
  *contexts = live_contexts;
}

EngineTable& EngineTable::Global() {
  static EngineTable* table = new EngineTable;
  return *table;
}

std::shared_ptr<EngineTable::Slot> EngineTable::SlotOf(const Key& key) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto at = slots_.begin(); at != slots_.end();) {
    const bool unused = at->second.use_count() == 1 && at->second->engine.expired();
    at = unused ? slots_.erase(at) : std::next(at);
  }
  auto& slot = slots_[key];
  if (!slot) slot = std::make_shared<Slot>();
  return slot;
}

std::shared_ptr<Engine> EngineTable::Get(std::shared_ptr<Runtime> runtime, const std::string& plan_digest, std::string_view plan,
                                         const Place& place, Counters* counters, Refusal* refusal) {
  const auto slot = SlotOf({runtime.get(), plan_digest, place.device.kind, place.device.ordinal});
  std::lock_guard<std::mutex> lock(slot->mutex);
  if (auto engine = slot->engine.lock()) return engine;
  auto engine = Engine::Create(std::move(runtime), plan, place, refusal);
  if (engine) ++counters->engines_created;
  slot->engine = engine;
  return engine;
}

}  // namespace tfgo

extern "C" {

uint32_t tfgo_abi_version(void) { return TFGO_ENGINE_ABI_VERSION; }

int32_t tfgo_register_runtime(const char* name, const TfgoRuntime* runtime, TfgoMessage* message) {
  return tfgo::RuntimeTable::Global().Register(name, *runtime, message);
}

int32_t tfgo_register_native_runtime(const char* name, const char* library, const char* symbol, TfgoMessage* message) {
  void* loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!loaded) return tfgo::Fail(message, dlerror());
  void* found = dlsym(loaded, symbol);
  if (!found) return tfgo::Fail(message, dlerror());
  const TfgoRuntime* runtime = reinterpret_cast<TfgoRuntimeFactory>(found)();
  if (!runtime) return tfgo::Fail(message, std::string(symbol) + " returned no runtime");
  return tfgo::RuntimeTable::Global().Register(name, *runtime, message);
}

int32_t tfgo_unregister_runtime(const char* name, int32_t abandon, TfgoMessage* message) {
  return tfgo::RuntimeTable::Global().Unregister(name, abandon != 0, message);
}

void tfgo_visit_counters(TfgoCounterVisitor visit, void* user) { tfgo::CounterTable::Global().Visit(visit, user); }

void tfgo_reset_counters(void) { tfgo::CounterTable::Global().Reset(); }

void tfgo_live_objects(int64_t* engines, int64_t* contexts) { tfgo::Engine::Live(engines, contexts); }
}
