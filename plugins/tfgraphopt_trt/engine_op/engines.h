// Runtimes, engines and pooled contexts: the C++ side of engine_runtime.h. Nothing here knows TensorFlow's kernels.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_ENGINES_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_ENGINES_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "counters.h"
#include "engine_control.h"

namespace tfgo {

// Why no engine runs: a reason that is counted and a detail for the message.
struct Refusal {
  Reason reason;
  std::string detail;
};

// A registered runtime. It lives until it is unregistered and its last engine is gone.
class Runtime {
 public:
  explicit Runtime(const TfgoRuntime& table) : table_(table) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;

  const TfgoRuntime& table() const { return table_; }
  bool abandoned() const { return abandoned_; }
  void Abandon() { abandoned_ = true; }

 private:
  const TfgoRuntime table_;
  std::atomic<bool> abandoned_{false};
};

// The runtimes of this process by name.
class RuntimeTable {
 public:
  static RuntimeTable& Global();

  int32_t Register(const std::string& name, const TfgoRuntime& table, TfgoMessage* message);
  int32_t Unregister(const std::string& name, bool abandon, TfgoMessage* message);
  std::shared_ptr<Runtime> Find(const std::string& name);
  // Rises with every change, so that a kernel notices at the cost of one load.
  uint64_t generation() const { return generation_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Runtime>> runtimes_;
  std::atomic<uint64_t> generation_{1};
};

// What the engine makes of given input shapes.
struct Resolution {
  int32_t status;
  std::string why;
  int32_t profile;
  size_t scratch_bytes;
  std::vector<TfgoTensor> outputs;
};

class Engine;

// A context borrowed from an engine's pool for one call.
class ContextLease {
 public:
  ContextLease() = default;
  ContextLease(Engine* engine, int32_t profile, void* stream, void* context)
      : engine_(engine), profile_(profile), stream_(stream), context_(context) {}
  ContextLease(ContextLease&& other) { *this = std::move(other); }
  ContextLease& operator=(ContextLease&& other);
  ~ContextLease();

  void* get() const { return context_; }

 private:
  Engine* engine_ = nullptr;
  int32_t profile_ = 0;
  void* stream_ = nullptr;
  void* context_ = nullptr;
};

// Where an engine runs. `quietly` calls a function when nothing runs on the device any more, with the device's context current.
struct Place {
  TfgoDevice device;
  std::function<void(const std::function<void()>&)> quietly;
};

// A plan that a runtime has accepted on one device. Thread-safe; concurrent calls never wait for each other's run.
class Engine {
 public:
  // Returns null and fills `refusal` where the runtime refuses the plan or describes it badly.
  static std::shared_ptr<Engine> Create(std::shared_ptr<Runtime> runtime, std::string_view plan, const Place& place, Refusal* refusal);
  ~Engine();
  Engine(const Engine&) = delete;

  const std::vector<int32_t>& input_dtypes() const { return input_dtypes_; }
  const std::vector<int32_t>& output_dtypes() const { return output_dtypes_; }
  bool input_on_host(size_t i) const { return input_on_host_[i]; }
  bool output_on_host(size_t i) const { return output_on_host_[i]; }
  const Runtime& runtime() const { return *runtime_; }

  // The profile, output shapes and scratch for `inputs`; remembered by shape unless the engine has shape tensors.
  std::shared_ptr<const Resolution> Resolve(const std::vector<TfgoTensor>& inputs);

  // A context that nobody else uses, from the pool or new; null and `why` where the runtime makes none.
  ContextLease Borrow(int32_t profile, void* stream, Counters* counters, std::string* why);

  int32_t Enqueue(void* context, const TfgoCall& call, std::string* why);

  static void Live(int64_t* engines, int64_t* contexts);

 private:
  friend class ContextLease;
  using PoolKey = std::pair<int32_t, void*>;  // a context stays with its profile and its stream

  Engine(std::shared_ptr<Runtime> runtime, const Place& place, void* handle);
  bool Describe(std::string* why);
  void Destroy();
  std::shared_ptr<const Resolution> AskResolution(const std::vector<TfgoTensor>& inputs);
  void Return(int32_t profile, void* stream, void* context);

  const std::shared_ptr<Runtime> runtime_;
  const Place place_;
  void* const handle_;
  std::vector<int32_t> input_dtypes_, output_dtypes_;
  std::vector<bool> input_on_host_, output_on_host_;
  bool resolves_by_shape_ = true;

  std::shared_mutex resolutions_mutex_;
  std::map<std::vector<int64_t>, std::shared_ptr<const Resolution>> resolutions_;

  std::mutex pool_mutex_;  // a leaf: nothing is called while it is held
  std::map<PoolKey, std::vector<void*>> pool_;
};

// The engines alive in this process, so that kernels of the same plan on the same device share one.
class EngineTable {
 public:
  static EngineTable& Global();

  // The engine of `plan_digest`, made by the runtime if no kernel holds it now.
  std::shared_ptr<Engine> Get(std::shared_ptr<Runtime> runtime, const std::string& plan_digest, std::string_view plan, const Place& place,
                              Counters* counters, Refusal* refusal);

 private:
  using Key = std::tuple<const Runtime*, std::string, int32_t, int32_t>;
  struct Slot {
    std::mutex mutex;  // held while the runtime creates the engine: others who want the same one wait for it
    std::weak_ptr<Engine> engine;
  };

  std::shared_ptr<Slot> SlotOf(const Key& key);

  std::mutex mutex_;
  std::map<Key, std::shared_ptr<Slot>> slots_;
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_ENGINES_H_
