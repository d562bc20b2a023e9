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
constexpr int32_t kLine = 16;  // numbers in a line of the cache
constexpr uint32_t kMagnitude = 0x7fffffffu;
constexpr uint32_t kInfinity = 0x7f800000u;

// The least and the greatest of a chunk, as order-preserving integers, NaN and infinity included.
struct Extent {
  int32_t low, high;
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

// The bit pattern of the largest magnitude.
inline uint32_t MagnitudeOf(const Extent& extent) {
  return std::max(static_cast<uint32_t>(Ordered(static_cast<uint32_t>(extent.low))) & kMagnitude,
                  static_cast<uint32_t>(Ordered(static_cast<uint32_t>(extent.high))) & kMagnitude);
}

// Finds the extent, and the bin of each magnitude; what lies beyond the last bin goes into it. Scaling by a power of two is exact.
// Zeros, half of what an activation gives, take turns in bins behind the last: in one bin each would wait for the one before.
TFGO_VECTORISED Extent Scan(const float* data, int32_t size, float scale, int32_t* bins) {
  constexpr float kLast = kBins - 1;
  int32_t low = std::numeric_limits<int32_t>::max(), high = std::numeric_limits<int32_t>::min();
  for (int32_t i = 0; i < size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, data + i, sizeof bits);
    const int32_t ordered = Ordered(bits);
    low = ordered < low ? ordered : low;
    high = ordered > high ? ordered : high;
    bits &= kMagnitude;
    const float scaled = FloatOf(bits) * scale;
    const int32_t zero = -static_cast<int32_t>(bits == 0);
    bins[i] = static_cast<int32_t>(scaled < kLast ? scaled : kLast) + (zero & (kBins + i % kZeroBins));
  }
  return {low, high};
}

int ExponentOf(float amax) {
  int exponent;
  std::frexp(amax, &exponent);
  return std::max(exponent, kLowestExponent);
}

}  // namespace

TensorStatistics::TensorStatistics()
    : min(std::numeric_limits<float>::infinity()), max(-std::numeric_limits<float>::infinity()), exponent(kLowestExponent) {}

float TensorStatistics::Scale() const { return std::ldexp(1.0f, kBinBits - exponent); }

void TensorStatistics::Widen(int wanted) {
  if (!has_histogram) exponent = wanted;
  has_histogram = true;
  for (; exponent < wanted; ++exponent) {
    for (int i = 0; i < kBins / 2; ++i) bins[i] = bins[2 * i] + bins[2 * i + 1];
    std::fill(bins.begin() + kBins / 2, bins.end(), 0);
  }
}

float TensorStatistics::Count(const float* data, int64_t size) {
  Counter counter(this);
  float amax = 0;
  for (int64_t start = 0; start < size; start += kChunk) {
    const int64_t left = size - start;
    amax = std::max(amax, counter.Add(data + start, static_cast<int32_t>(std::min(kChunk, left)), left));
  }
  return amax;
}

void TensorStatistics::Merge(const TensorStatistics& part) {
  count += part.count, zeros += part.zeros, nans += part.nans, infinities += part.infinities;
  min = std::min(min, part.min), max = std::max(max, part.max);
  if (part.has_histogram) Widen(has_histogram ? std::max(exponent, part.exponent) : part.exponent);
  const int finer = part.has_histogram ? exponent - part.exponent : 0;
  for (int i = 0; i < kBins; ++i) bins[finer < kBinBits ? i >> finer : 0] += part.bins[i];
}

void TensorStatistics::EndBatch(float amax) {
  ++batches;
  if (amax == 0) return;
  int power;
  const float mantissa = std::frexp(amax, &power);
  peaks[power - 24] += static_cast<int64_t>(std::ldexp(mantissa, 24));
}

int32_t TensorStatistics::KeepFinite(const float* data, int32_t size, float* finite) {
  int32_t kept = 0;
  for (int32_t i = 0; i < size; ++i) {
    if (std::isfinite(data[i])) finite[kept++] = data[i];
    nans += std::isnan(data[i]), infinities += std::isinf(data[i]);
  }
  return kept;
}

TensorStatistics::Counter::~Counter() { Flush(); }

float TensorStatistics::Counter::Add(const float* data, int32_t size, int64_t readable) {
  int32_t bins[kChunk];
  float finite[kChunk];
  const float* values = data;
  int32_t length = size;
  Extent extent = Scan(values, length, owner_->Scale(), bins);
  if (MagnitudeOf(extent) >= kInfinity) {  // rare: go on with what is finite
    length = owner_->KeepFinite(data, size, finite);
    if (length == 0) return 0;
    values = finite;
    extent = Scan(values, length, owner_->Scale(), bins);
  }
  const float largest = FloatOf(MagnitudeOf(extent));
  if (largest != 0 && (!owner_->has_histogram || ExponentOf(largest) > owner_->exponent)) {
    Flush();
    owner_->Widen(ExponentOf(largest));
    Scan(values, length, owner_->Scale(), bins);
  }
  owner_->count += length;
  owner_->min = std::min(owner_->min, FromOrdered(extent.low) + 0.0f);
  owner_->max = std::max(owner_->max, FromOrdered(extent.high) + 0.0f);
  Count(bins, length, data + size, std::min(readable - size, kChunk));
  return largest;
}

void TensorStatistics::Counter::Count(const int32_t* bins, int32_t size, const float* next, int64_t readable) {
  int32_t i = 0;
  for (; i + kLine <= size; i += kLine) {
    if (i < readable) __builtin_prefetch(next + i);
    for (int32_t j = i; j < i + kLine; j += 2) {
      uint64_t pair;  // one load for two bins: the loads and stores of the tables are what takes the time
      std::memcpy(&pair, bins + j, sizeof pair);
      ++even_[static_cast<uint32_t>(pair)], ++odd_[pair >> 32];
    }
  }
  for (; i < size; ++i) ++even_[bins[i]];
}

void TensorStatistics::Counter::Flush() {
  for (int i = 0; i < kBins; ++i) owner_->bins[i] += int64_t{even_[i]} + odd_[i];
  for (int i = kBins; i < kBins + kZeroBins; ++i) owner_->zeros += int64_t{even_[i]} + odd_[i];
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
