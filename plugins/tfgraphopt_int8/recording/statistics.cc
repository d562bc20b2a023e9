#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TFGO_VECTORISED __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define TFGO_VECTORISED
#endif

namespace tfgraphopt {
namespace {

constexpr int64_t kChunk = 1 << 10;
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

inline float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float FromOrdered(int32_t number) {
  return FloatOf(static_cast<uint32_t>(Ordered(static_cast<uint32_t>(number))));
}

TFGO_VECTORISED Extent ExtentOf(const float* data, int64_t size) {
  int32_t low = std::numeric_limits<int32_t>::max(), high = std::numeric_limits<int32_t>::min(), zeros = 0;
  uint32_t magnitude = 0;
  for (int64_t i = 0; i < size; ++i) {
    uint32_t now;
    std::memcpy(&now, data + i, sizeof now);
    const uint32_t size_of = now & kMagnitude;
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

void TensorStatistics::Observe(const float* data, int64_t size) {
  Counter counter(this);
  float finite[kChunk];
  float amax = 0;
  for (int64_t start = 0; start < size; start += kChunk) {
    const float* chunk = data + start;
    int64_t length = std::min(kChunk, size - start);
    Extent extent = ExtentOf(chunk, length);
    if (extent.magnitude >= kInfinity) {  // rare: go on with what is finite
      length = KeepFinite(chunk, length, finite);
      chunk = finite;
      extent = ExtentOf(chunk, length);
    }
    if (length == 0) continue;
    count += length, zeros += extent.zeros;
    min = std::min(min, FromOrdered(extent.low) + 0.0f), max = std::max(max, FromOrdered(extent.high) + 0.0f);
    const float largest = FloatOf(extent.magnitude);
    if (largest == 0) continue;
    amax = std::max(amax, largest);
    counter.Add(chunk, length, largest, extent.zeros);
  }
  ++batches;
  if (amax == 0) return;
  int power;
  const float mantissa = std::frexp(amax, &power);
  peaks[power - 24] += static_cast<int64_t>(std::ldexp(mantissa, 24));
}

int64_t TensorStatistics::KeepFinite(const float* data, int64_t size, float* finite) {
  int64_t kept = 0;
  for (int64_t i = 0; i < size; ++i) {
    if (std::isfinite(data[i])) finite[kept++] = data[i];
    nans += std::isnan(data[i]), infinities += std::isinf(data[i]);
  }
  return kept;
}

TensorStatistics::Counter::~Counter() { Flush(); }

void TensorStatistics::Counter::Add(const float* data, int64_t size, float largest, int64_t zeros) {
  const int needed = ExponentOf(largest);
  if (!owner_->has_histogram || needed > owner_->exponent) {
    Flush();
    owner_->Widen(needed);
  }
  int32_t index[kChunk];
  BinsOf(data, size, std::ldexp(1.0f, kBinBits - owner_->exponent), index);
  int64_t i = 0;
  for (; i + 2 <= size; i += 2) ++even_[index[i]], ++odd_[index[i + 1]];
  if (i < size) ++even_[index[i]];
  owner_->bins[0] -= zeros;
}

void TensorStatistics::Counter::Flush() {
  for (int i = 0; i < kBins; ++i) owner_->bins[i] += int64_t{even_[i]} + odd_[i];
  even_.fill(0), odd_.fill(0);
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
