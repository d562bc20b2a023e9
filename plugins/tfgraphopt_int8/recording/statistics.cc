#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TFGO_VECTORISED __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define TFGO_VECTORISED
#endif

namespace tfgraphopt {
namespace {

constexpr int64_t kChunk = 1 << 12;
constexpr uint32_t kMagnitude = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;

struct Extent {
  int32_t low, high;    // order-preserving integers of the floats
  uint32_t magnitude;   // the largest bit pattern without its sign, NaN and infinity included
  int64_t zeros;
};

// Integers that are ordered as the floats of these bits are.
inline int32_t Ordered(uint32_t bits) {
  int32_t number = static_cast<int32_t>(bits);
  return number ^ static_cast<int32_t>(static_cast<uint32_t>(number >> 31) >> 1);
}

inline float FromOrdered(int32_t number) {
  int32_t bits = number ^ static_cast<int32_t>(static_cast<uint32_t>(number >> 31) >> 1);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

TFGO_VECTORISED Extent ExtentOf(const uint32_t* bits, int64_t size) {
  int32_t low = std::numeric_limits<int32_t>::max(), high = std::numeric_limits<int32_t>::min(), zeros = 0;
  uint32_t magnitude = 0;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t now = bits[i], size_of = now & kMagnitude;
    int32_t ordered = Ordered(now);
    low = ordered < low ? ordered : low;
    high = ordered > high ? ordered : high;
    magnitude = size_of > magnitude ? size_of : magnitude;
    zeros += size_of == 0;
  }
  return {low, high, magnitude, zeros};
}

// The bin of each magnitude. Scaling by a power of two is exact.
TFGO_VECTORISED void BinsOf(const float* data, int64_t size, float scale, int32_t* bins) {
  for (int64_t i = 0; i < size; ++i) bins[i] = static_cast<int32_t>(std::fabs(data[i]) * scale);
}

int ExponentOf(float amax) {
  int exponent;
  std::frexp(amax, &exponent);
  return std::max(exponent, kLowestExponent);
}

}  // namespace

TensorStatistics::TensorStatistics()
    : min(std::numeric_limits<float>::infinity()), max(-std::numeric_limits<float>::infinity()), exponent(kLowestExponent) {}

void TensorStatistics::Widen(int wanted) {
  if (!has_histogram) exponent = wanted;
  has_histogram = true;
  for (; exponent < wanted; ++exponent) {
    for (int i = 0; i < kBins / 2; ++i) bins[i] = bins[2 * i] + bins[2 * i + 1];
    std::fill(bins.begin() + kBins / 2, bins.end(), 0);
  }
}

void TensorStatistics::AddToHistogram(const float* data, int64_t size, float amax) {
  Widen(ExponentOf(amax));
  const float scale = std::ldexp(1.0f, kBinBits - exponent);
  // Four tables, so that equal neighbours do not wait for each other's increments.
  static thread_local std::vector<uint32_t> tables(4 * kBins);
  static thread_local std::vector<int32_t> index(kChunk);
  std::fill(tables.begin(), tables.end(), 0);
  uint32_t *a = tables.data(), *b = a + kBins, *c = b + kBins, *d = c + kBins;
  for (int64_t start = 0; start < size; start += kChunk) {
    const int64_t length = std::min(kChunk, size - start);
    BinsOf(data + start, length, scale, index.data());
    int64_t i = 0;
    for (; i + 4 <= length; i += 4) {
      ++a[index[i]], ++b[index[i + 1]], ++c[index[i + 2]], ++d[index[i + 3]];
    }
    for (; i < length; ++i) ++a[index[i]];
  }
  for (int i = 0; i < kBins; ++i) bins[i] += int64_t{a[i]} + b[i] + c[i] + d[i];
}

void TensorStatistics::Observe(const float* data, int64_t size) {
  ++batches;
  std::vector<float> finite;
  Extent all = ExtentOf(reinterpret_cast<const uint32_t*>(data), size);
  if (all.magnitude >= kInfinity) {  // rare: keep what is finite
    for (int64_t i = 0; i < size; ++i) {
      if (std::isfinite(data[i])) finite.push_back(data[i]);
      nans += std::isnan(data[i]), infinities += std::isinf(data[i]);
    }
    data = finite.data(), size = static_cast<int64_t>(finite.size());
    all = ExtentOf(reinterpret_cast<const uint32_t*>(data), size);
  }
  if (size == 0) return;
  count += size, zeros += all.zeros;
  min = std::min(min, FromOrdered(all.low) + 0.0f), max = std::max(max, FromOrdered(all.high) + 0.0f);
  float amax;
  std::memcpy(&amax, &all.magnitude, sizeof amax);
  if (amax == 0) return;
  int power;
  const float mantissa = std::frexp(amax, &power);
  peaks[power - 24] += static_cast<int64_t>(std::ldexp(mantissa, 24));
  AddToHistogram(data, size, amax);
  bins[0] -= all.zeros;
}

Table& Table::Get() {
  static Table* table = new Table;  // never destroyed: sessions may outlive the end of main
  return *table;
}

std::shared_ptr<Watched> Table::Find(const std::string& calibration, const std::string& tensor) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto& found = entries_[calibration][tensor];
  if (found == nullptr) found = std::make_shared<Watched>();
  return found;
}

std::map<std::string, std::shared_ptr<Watched>> Table::All(const std::string& calibration) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = entries_.find(calibration);
  return found == entries_.end() ? std::map<std::string, std::shared_ptr<Watched>>{} : found->second;
}

void Table::Forget(const std::string& calibration) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = entries_.find(calibration);
  if (found == entries_.end()) return;
  for (auto& [name, watched] : found->second) {  // running graphs keep their pointers: empty what they point to
    std::lock_guard<std::mutex> inner(watched->mutex);
    watched->statistics = TensorStatistics();
  }
}

}  // namespace tfgraphopt
