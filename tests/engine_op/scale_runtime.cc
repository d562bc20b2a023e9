// An engine runtime for the tests: y = x * scale, in float32. A plan is a text "<scale> <min>-<max> ...": the ranges of the first dimension are
// the profiles. It uses its scratch memory, and refuses to run where two calls share a context or the scratch is misaligned.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "engine_runtime.h"

namespace {

constexpr int32_t kFloat = 1;

std::atomic<int32_t> live_engines{0}, live_contexts{0};

struct Engine {
  float scale = 0;
  std::vector<std::pair<long, long>> profiles;
  Engine() { ++live_engines; }
  ~Engine() { --live_engines; }
};

struct Context {
  const Engine* engine;
  std::atomic<bool> busy{false};
  explicit Context(const Engine* on) : engine(on) { ++live_contexts; }
  ~Context() { --live_contexts; }
};

int64_t Elements(const TfgoTensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.rank; ++i) n *= t.dims[i];
  return n;
}

void* CreateEngine(void*, const void* plan, size_t size, const TfgoDevice*, TfgoMessage* message) {
  std::istringstream text(std::string(static_cast<const char*>(plan), size));
  auto* engine = new Engine;
  text >> engine->scale;
  std::pair<long, long> range;
  char dash;
  while (text >> range.first >> dash >> range.second) engine->profiles.push_back(range);
  if (!engine->profiles.empty()) return engine;
  tfgo_say(message, "this is no scale plan");
  delete engine;
  return nullptr;
}

int32_t Describe(void* handle, TfgoEngineInfo* info, TfgoMessage*) {
  info->num_inputs = info->num_outputs = 1;
  info->num_profiles = static_cast<int32_t>(static_cast<Engine*>(handle)->profiles.size());
  info->input_dtypes = info->output_dtypes = &kFloat;
  return TFGO_OK;
}

int32_t Resolve(void* handle, const TfgoTensor* inputs, int32_t, TfgoResolution* resolution, TfgoMessage* message) {
  const auto& profiles = static_cast<Engine*>(handle)->profiles;
  int best = -1;
  for (int p = 0; p < static_cast<int>(profiles.size()); ++p) {
    const bool fits = profiles[p].first <= inputs[0].dims[0] && inputs[0].dims[0] <= profiles[p].second;
    const auto width = [&](int i) { return profiles[i].second - profiles[i].first; };
    if (fits && (best < 0 || width(p) < width(best))) best = p;
  }
  if (best < 0) return tfgo_say(message, "no profile takes this batch size"), TFGO_DOES_NOT_FIT;
  resolution->profile = best;
  resolution->outputs[0].rank = inputs[0].rank;
  for (int i = 0; i < inputs[0].rank; ++i) resolution->outputs[0].dims[i] = inputs[0].dims[i];
  resolution->scratch_bytes = static_cast<size_t>(Elements(inputs[0])) * sizeof(float);
  return TFGO_OK;
}

void* CreateContext(void* engine, int32_t, TfgoMessage*) { return new Context(static_cast<Engine*>(engine)); }

int32_t Enqueue(void* handle, const TfgoCall* call, TfgoMessage* message) {
  auto* context = static_cast<Context*>(handle);
  if (context->busy.exchange(true)) return tfgo_say(message, "two calls share a context"), TFGO_ERROR;
  if (reinterpret_cast<uintptr_t>(call->scratch) % 64 != 0) return tfgo_say(message, "the scratch is misaligned"), TFGO_ERROR;
  const int64_t n = Elements(call->inputs[0]);
  auto* scratch = static_cast<float*>(call->scratch);
  for (int64_t i = 0; i < n; ++i) scratch[i] = static_cast<const float*>(call->inputs[0].data)[i] * context->engine->scale;
  for (int64_t i = 0; i < n; ++i) static_cast<float*>(call->outputs[0].data)[i] = scratch[i];
  context->busy = false;
  return TFGO_OK;
}

void DestroyContext(void* context) { delete static_cast<Context*>(context); }
void DestroyEngine(void* engine) { delete static_cast<Engine*>(engine); }

const TfgoRuntime kRuntime = {TFGO_ENGINE_ABI_VERSION, sizeof(TfgoRuntime), nullptr, CreateEngine, Describe, Resolve, CreateContext, Enqueue,
                              DestroyContext, DestroyEngine, nullptr};
const TfgoRuntime kOldRuntime = {0, sizeof(TfgoRuntime), nullptr, CreateEngine, Describe, Resolve, CreateContext, Enqueue,
                                 DestroyContext, DestroyEngine, nullptr};

}  // namespace

extern "C" {
__attribute__((visibility("default"))) const TfgoRuntime* scale_runtime(void) { return &kRuntime; }
__attribute__((visibility("default"))) const TfgoRuntime* old_runtime(void) { return &kOldRuntime; }
// Engines that are alive, and contexts in the hundreds.
__attribute__((visibility("default"))) int32_t scale_live(void) { return live_engines + 100 * live_contexts; }
}
