// What the engine op counts: per engine node, how often an engine ran, how often the TensorFlow body ran and why.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_COUNTERS_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine_control.h"

namespace tfgo {

// Why the TensorFlow body runs instead of an engine. kReasons has the texts in the same order.
enum Reason { kNoPlan, kPlanUnreadable, kPlanDamaged, kPlanUntrusted, kNoRuntime, kPlanRefused, kSignature, kNoFit, kRunFailed, kNumReasons };

struct ReasonText {
  const char* key;   // in counters
  const char* what;  // in messages
  const char* hint;
};

inline constexpr ReasonText kReasons[kNumReasons] = {
    {"no_plan", "it holds no plan", "optimise the model again with engine building on"},
    {"plan_unreadable", "its plan file cannot be read", "keep the plan files beside the model, or set TFGRAPHOPT_PLAN_DIR to their directory"},
    {"plan_damaged", "its plan is not the one that was built", "restore the plan file, or optimise the model again"},
    {"plan_untrusted", "its plan file has no digest to check it by", "write the attribute plan_digest (sha256 of the plan)"},
    {"no_runtime", "no engine runtime is registered under its name", "install the runtime and register it before the first run"},
    {"plan_refused", "the engine runtime refused its plan", "optimise the model again on this machine, or this graph with the option rebuild"},
    {"signature_mismatch", "the engine does not fit the node", "optimise the model again"},
    {"shape_outside_profiles", "the input shapes are outside every profile", "optimise the model with input_shapes (or a max_batch_size) that reach them, or with one more ShapeRange for a further profile"},
    {"run_failed", "the engine failed to run", "see the message of the engine runtime"},
};

struct Counters {
  std::atomic<uint64_t> engine_runs{0}, engines_created{0}, contexts_created{0};
  std::array<std::atomic<uint64_t>, kNumReasons> fallbacks{};

  void Reset() {
    engine_runs = engines_created = contexts_created = 0;
    for (auto& count : fallbacks) count = 0;
  }
};

// The counters of all nodes of this process, by node name.
class CounterTable {
 public:
  static CounterTable& Global() {
    static CounterTable* table = new CounterTable;  // never destroyed: kernels may outlive static destruction
    return *table;
  }

  std::shared_ptr<Counters> Of(const std::string& node) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto& counters = table_[node];
    if (!counters) counters = std::make_shared<Counters>();
    return counters;
  }

  void Reset() {
    for (auto& [node, counters] : Copy()) counters->Reset();
  }

  void Visit(TfgoCounterVisitor visit, void* user) {
    for (const auto& [node, counters] : Copy()) {
      const auto report = [&, name = node.c_str()](const char* counter, uint64_t value) {
        if (value > 0) visit(user, name, counter, value);
      };
      report("engine_runs", counters->engine_runs);
      report("engines_created", counters->engines_created);
      report("contexts_created", counters->contexts_created);
      for (int r = 0; r < kNumReasons; ++r) report((std::string("fallback:") + kReasons[r].key).c_str(), counters->fallbacks[r]);
    }
  }

 private:
  // Visitors are called without the lock, because a Python one waits for the interpreter.
  std::map<std::string, std::shared_ptr<Counters>> Copy() {
    std::lock_guard<std::mutex> lock(mutex_);
    return table_;
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Counters>> table_;
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_COUNTERS_H_
