// Streaming statistics of tensors: the same numbers as tfgraphopt_int8/statistics.py computes, exactly.
#ifndef TFGRAPHOPT_INT8_STATISTICS_H_
#define TFGRAPHOPT_INT8_STATISTICS_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace tfgraphopt {

constexpr int kBins = 4096;
constexpr int kBinBits = 12;
constexpr int kZeroBins = 16;
constexpr int kLowestExponent = -100;

// What was seen of one tensor. Not thread-safe.
struct TensorStatistics {
  int64_t batches = 0, count = 0, zeros = 0, nans = 0, infinities = 0;
  float min, max;
  int exponent;                       // the histogram covers [0, 2^exponent); valid when it has counts
  bool has_histogram = false;
  std::array<int64_t, kBins> bins{};  // zeros are not in bin 0
  std::map<int, int64_t> peaks;       // sum of mantissas of the batches' largest magnitudes, by exponent

  TensorStatistics();
  // Counts a part of a batch; gives the largest finite magnitude of it.
  float Count(const float* data, int64_t size);
  // Adds what was counted elsewhere of the same batch.
  void Merge(const TensorStatistics& part);
  // Ends a batch, whose largest finite magnitude is `amax`.
  void EndBatch(float amax);

 private:
  // Counts one batch into small tables that stay in the first cache: two, so that equal neighbours need not wait for each other.
  class Counter {
   public:
    explicit Counter(TensorStatistics* owner) : owner_(owner) { even_.fill(0), odd_.fill(0); }
    ~Counter();
    // Counts `size` of the `readable` numbers from `data` on, at most a chunk; gives the largest finite magnitude.
    float Add(const float* data, int32_t size, int64_t readable);

   private:
    void Count(const int32_t* bins, int32_t size, const float* next, int64_t readable);
    void Flush();
    TensorStatistics* owner_;
    std::array<uint32_t, kBins + kZeroBins> even_, odd_;
  };

  float Scale() const;  // what makes bins of magnitudes
  void Widen(int wanted);
  int32_t KeepFinite(const float* data, int32_t size, float* finite);
};

// A tensor's statistics with its lock. ``attached`` says that some graph computes it as it is named.
struct Watched {
  std::mutex mutex;
  bool attached = false;
  TensorStatistics statistics;
};

// Everything that is watched in this process, by calibration and tensor. Thread-safe.
class Table {
 public:
  static Table& Get();
  std::shared_ptr<Watched> Find(const std::string& calibration, const std::string& tensor);
  std::map<std::string, std::shared_ptr<Watched>> All(const std::string& calibration);
  void Forget(const std::string& calibration);

 private:
  std::mutex mutex_;
  std::map<std::string, std::map<std::string, std::shared_ptr<Watched>>> entries_;
};

}  // namespace tfgraphopt

#endif  // TFGRAPHOPT_INT8_STATISTICS_H_
