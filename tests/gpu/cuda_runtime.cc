// An engine runtime for the tests on a GPU, by the CUDA driver alone: it compiles without a CUDA toolkit (the kernels are PTX, the driver is
// opened when the first engine is made). y = x * scale, in float32.
//
// A plan is words `key=value`:
//   scale=S       the factor
//   batch=L-H     a profile: sizes of the first dimension; may be repeated
//   scratch=B     bytes of scratch beyond what the computation needs; without it there is none and one kernel does the work, with it
//                 two do: through the scratch memory, so that calls that share it by mistake spoil each other's results
//   spin_us=U     the device is kept busy that long before the work
//   tile=1        a second input, int32[1] in host memory, says how often y repeats x: [n, ...]
//   shape=1       a second output, int32 in host memory: the dimensions of x
//   launch=0      nothing is put on the stream (for timing the op alone); inputs and outputs may then be any number: ins=N outs=N
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "engine_runtime.h"

namespace {

constexpr int32_t kTypes[] = {1, 3};  // float32, int32: what comes second is there in tile and shape plans only
constexpr uint8_t kOnHost[] = {0, 1};
const std::vector<int32_t> kFloats(64, 1);

constexpr char kPtx[] = R"(
.version 7.0
.target sm_75
.address_size 64
.visible .entry scale(.param .u64 x, .param .u64 y, .param .f32 factor, .param .u64 n, .param .u64 period) {
  .reg .pred p; .reg .f32 f<3>; .reg .b32 r<4>; .reg .b64 d<10>;
  ld.param.u64 d1, [x]; ld.param.u64 d2, [y]; ld.param.f32 f1, [factor]; ld.param.u64 d3, [n]; ld.param.u64 d4, [period];
  mov.u32 r1, %ctaid.x; mov.u32 r2, %ntid.x; mov.u32 r3, %tid.x;
  cvt.u64.u32 d5, r3; mad.wide.u32 d6, r1, r2, d5;
  setp.ge.u64 p, d6, d3;
  @p bra DONE;
  rem.u64 d7, d6, d4; shl.b64 d7, d7, 2; add.u64 d8, d1, d7;
  ld.global.f32 f2, [d8]; mul.f32 f2, f2, f1;
  shl.b64 d9, d6, 2; add.u64 d9, d2, d9; st.global.f32 [d9], f2;
DONE:
  ret;
}
.visible .entry spin(.param .u64 nanoseconds) {
  .reg .pred p; .reg .b64 d<5>;
  ld.param.u64 d1, [nanoseconds]; mov.u64 d2, %globaltimer;
AGAIN:
  mov.u64 d3, %globaltimer; sub.u64 d4, d3, d2; setp.lt.u64 p, d4, d1;
  @p bra AGAIN;
  ret;
}
)";

// The few functions of the CUDA driver that are used.
struct Driver {
  using Handle = void*;
  int (*load)(Handle*, const void*);
  int (*unload)(Handle);
  int (*function)(Handle*, Handle, const char*);
  int (*launch)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**);
  int (*attribute)(void*, int, uint64_t);
  const char* missing = nullptr;

  template <typename F>
  void Find(void* library, const char* name, F* into) {
    *into = reinterpret_cast<F>(library ? dlsym(library, name) : nullptr);
    if (!*into) missing = name;
  }

  static const Driver& Get() {
    static const Driver driver = [] {
      Driver found{};
      void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
      found.Find(library, "cuModuleLoadData", &found.load);
      found.Find(library, "cuModuleUnload", &found.unload);
      found.Find(library, "cuModuleGetFunction", &found.function);
      found.Find(library, "cuLaunchKernel", &found.launch);
      found.Find(library, "cuPointerGetAttribute", &found.attribute);
      return found;
    }();
    return driver;
  }
};

struct Engine {
  float scale = 1;
  std::vector<std::pair<long, long>> profiles;
  size_t scratch = 0;
  uint64_t spin_ns = 0;
  bool has_scratch = false, tile = false, shape = false, launch = true;
  int ins = 1, outs = 1;
  int32_t ordinal = 0;
  void *module = nullptr, *scale_kernel = nullptr, *spin_kernel = nullptr;
};

struct Context {
  const Engine* engine;
  std::atomic<bool> busy{false};
  void* stream = nullptr;
};

std::mutex log_mutex;
std::vector<int64_t> enqueue_log;  // per enqueue: nanoseconds at its start and end, its stream, its GPU

int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

int32_t Fail(TfgoMessage* message, const std::string& text) { return tfgo_say(message, text.c_str()), TFGO_ERROR; }

bool Read(const std::string& word, Engine* e) {
  long low, high, value;
  float scale;
  if (sscanf(word.c_str(), "batch=%ld-%ld", &low, &high) == 2) return e->profiles.emplace_back(low, high), true;
  if (sscanf(word.c_str(), "scale=%f", &scale) == 1) return e->scale = scale, true;
  if (sscanf(word.c_str(), "scratch=%ld", &value) == 1) return e->scratch = value, e->has_scratch = true;
  if (sscanf(word.c_str(), "spin_us=%ld", &value) == 1) return e->spin_ns = 1000 * value, true;
  if (sscanf(word.c_str(), "tile=%ld", &value) == 1) return e->tile = value != 0, true;
  if (sscanf(word.c_str(), "shape=%ld", &value) == 1) return e->shape = value != 0, true;
  if (sscanf(word.c_str(), "launch=%ld", &value) == 1) return e->launch = value != 0, true;
  if (sscanf(word.c_str(), "ins=%ld", &value) == 1) return e->ins = value, true;
  if (sscanf(word.c_str(), "outs=%ld", &value) == 1) return e->outs = value, true;
  return false;
}

int32_t LoadKernels(Engine* e, TfgoMessage* message) {
  const Driver& cuda = Driver::Get();
  if (cuda.missing) return Fail(message, std::string("the CUDA driver is not installed: no ") + cuda.missing);
  if (int status = cuda.load(&e->module, kPtx)) return Fail(message, "cuModuleLoadData: " + std::to_string(status));
  const bool found = !cuda.function(&e->scale_kernel, e->module, "scale") && !cuda.function(&e->spin_kernel, e->module, "spin");
  return found ? TFGO_OK : Fail(message, "cuModuleGetFunction");
}

void* CreateEngine(void*, const void* plan, size_t size, const TfgoDevice* device, TfgoMessage* message) {
  auto* engine = new Engine;
  engine->ordinal = device->ordinal;
  std::istringstream text(std::string(static_cast<const char*>(plan), size));
  std::string word;
  int32_t status = device->kind == TFGO_DEVICE_CUDA ? TFGO_OK : Fail(message, "this plan is for a GPU");
  while (status == TFGO_OK && text >> word)
    if (!Read(word, engine)) status = Fail(message, "what is " + word + "?");
  if (engine->tile) engine->ins = 2;
  if (engine->shape) engine->outs = 2;
  if (status == TFGO_OK && LoadKernels(engine, message) == TFGO_OK) return engine;
  delete engine;
  return nullptr;
}

int32_t Describe(void* handle, TfgoEngineInfo* info, TfgoMessage*) {
  const auto* e = static_cast<Engine*>(handle);
  info->num_inputs = e->ins;
  info->num_outputs = e->outs;
  info->num_profiles = static_cast<int32_t>(e->profiles.size());
  info->input_dtypes = e->tile ? kTypes : kFloats.data();
  info->output_dtypes = e->shape ? kTypes : kFloats.data();
  info->input_on_host = e->tile ? kOnHost : nullptr;
  info->output_on_host = e->shape ? kOnHost : nullptr;
  return TFGO_OK;
}

int64_t Elements(const TfgoTensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.rank; ++i) n *= t.dims[i];
  return n;
}

int32_t Resolve(void* handle, const TfgoTensor* inputs, int32_t, TfgoResolution* resolution, TfgoMessage* message) {
  const auto* e = static_cast<Engine*>(handle);
  if (inputs[0].data) return Fail(message, "resolve was shown a device pointer");
  if (e->tile && (!inputs[1].data || !inputs[1].on_host)) return Fail(message, "resolve was not shown the value of a shape tensor");
  int best = -1;
  for (int p = 0; p < static_cast<int>(e->profiles.size()); ++p) {
    const auto width = [&](int i) { return e->profiles[i].second - e->profiles[i].first; };
    const bool fits = e->profiles[p].first <= inputs[0].dims[0] && inputs[0].dims[0] <= e->profiles[p].second;
    if (fits && (best < 0 || width(p) < width(best))) best = p;
  }
  if (best < 0) return tfgo_say(message, "no profile takes this batch size"), TFGO_DOES_NOT_FIT;
  resolution->profile = best;
  const size_t needed = (Elements(inputs[0]) * sizeof(float) + 255) / 256 * 256;
  resolution->scratch_bytes = e->has_scratch ? needed + e->scratch : 0;
  for (int o = 0; o < e->outs; ++o) {
    TfgoTensor& y = resolution->outputs[o];
    y.rank = inputs[0].rank + e->tile;
    if (e->tile) y.dims[0] = *static_cast<const int32_t*>(inputs[1].data);
    for (int i = 0; i < inputs[0].rank; ++i) y.dims[i + e->tile] = inputs[0].dims[i];
  }
  if (e->shape) {
    resolution->outputs[1].rank = 1;
    resolution->outputs[1].dims[0] = inputs[0].rank;
  }
  return TFGO_OK;
}

void* CreateContext(void* engine, int32_t, TfgoMessage*) { return new Context{static_cast<Engine*>(engine)}; }

int Scale(const Engine& e, void* stream, const void* x, void* y, float factor, uint64_t n, uint64_t period) {
  if (n == 0) return 0;
  void* arguments[] = {&x, &y, &factor, &n, &period};
  return Driver::Get().launch(e.scale_kernel, static_cast<unsigned>((n + 255) / 256), 1, 1, 256, 1, 1, 0, stream, arguments, nullptr);
}

// Where CUDA says that memory is: 0 where it does not know it.
int Ordinal(const void* address) {
  int ordinal = -1;
  constexpr int kDeviceOrdinal = 9;
  return Driver::Get().attribute(&ordinal, kDeviceOrdinal, reinterpret_cast<uint64_t>(address)) ? -1 : ordinal;
}

int32_t Check(const Engine& e, const TfgoCall& call, TfgoMessage* message) {
  if (!call.stream) return Fail(message, "the call has no stream");
  if (e.has_scratch && (!call.scratch || reinterpret_cast<uintptr_t>(call.scratch) % 256)) return Fail(message, "the scratch is missing or misaligned");
  if (Elements(call.inputs[0]) == 0) return TFGO_OK;
  for (const void* address : {static_cast<const void*>(call.inputs[0].data), static_cast<const void*>(call.outputs[0].data), static_cast<const void*>(call.scratch)})
    if (address && Ordinal(address) != e.ordinal) return Fail(message, "memory is on GPU " + std::to_string(Ordinal(address)) + ", the engine on " + std::to_string(e.ordinal));
  return TFGO_OK;
}

int32_t Work(const Engine& e, const TfgoCall& call, TfgoMessage* message) {
  if (Check(e, call, message) != TFGO_OK) return TFGO_ERROR;
  const uint64_t n = Elements(call.inputs[0]), out = Elements(call.outputs[0]);
  int status = 0;
  if (e.spin_ns) {
    uint64_t ns = e.spin_ns;
    void* arguments[] = {&ns};
    status = Driver::Get().launch(e.spin_kernel, 1, 1, 1, 1, 1, 1, 0, call.stream, arguments, nullptr);
  }
  if (e.shape && !call.outputs[1].on_host) return Fail(message, "the second output is not in host memory");
  for (int i = 0; e.shape && i < call.inputs[0].rank; ++i) static_cast<int32_t*>(call.outputs[1].data)[i] = static_cast<int32_t>(call.inputs[0].dims[i]);
  const void* x = call.inputs[0].data;
  if (e.has_scratch && !status) status = Scale(e, call.stream, x, call.scratch, 1, n, n ? n : 1);
  if (!status) status = Scale(e, call.stream, e.has_scratch ? call.scratch : x, call.outputs[0].data, e.scale, out, n ? n : 1);
  return status ? Fail(message, "cuLaunchKernel: " + std::to_string(status)) : TFGO_OK;
}

int32_t Enqueue(void* handle, const TfgoCall* call, TfgoMessage* message) {
  auto* context = static_cast<Context*>(handle);
  if (!context->engine->launch) return TFGO_OK;
  const int64_t start = Now();
  if (context->busy.exchange(true)) return Fail(message, "two calls share a context");
  if (context->stream && context->stream != call->stream) return Fail(message, "a context has changed its stream");
  context->stream = call->stream;
  const int32_t status = Work(*context->engine, *call, message);
  context->busy = false;
  std::lock_guard<std::mutex> lock(log_mutex);
  if (enqueue_log.size() < 1 << 20)
    enqueue_log.insert(enqueue_log.end(), {start, Now(), reinterpret_cast<int64_t>(call->stream), int64_t{context->engine->ordinal}});
  return status;
}

void DestroyContext(void* context) { delete static_cast<Context*>(context); }

void DestroyEngine(void* handle) {
  auto* engine = static_cast<Engine*>(handle);
  Driver::Get().unload(engine->module);
  delete engine;
}

const TfgoRuntime kRuntime = {TFGO_ENGINE_ABI_VERSION, sizeof(TfgoRuntime), nullptr, CreateEngine, Describe, Resolve, CreateContext, Enqueue,
                              DestroyContext, DestroyEngine, nullptr};

}  // namespace

extern "C" {
__attribute__((visibility("default"))) const TfgoRuntime* cuda_runtime(void) { return &kRuntime; }

// Copies at most `capacity` numbers of the log to `into` and empties it; returns how many there were.
__attribute__((visibility("default"))) int64_t take_enqueue_log(int64_t* into, int64_t capacity) {
  std::lock_guard<std::mutex> lock(log_mutex);
  const int64_t count = static_cast<int64_t>(enqueue_log.size());
  for (int64_t i = 0; i < count && i < capacity; ++i) into[i] = enqueue_log[i];
  enqueue_log.clear();
  return count;
}
}
