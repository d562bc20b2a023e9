// SHA-256 (FIPS 180-4), for the digest of a plan: the wheel of TensorFlow exports none that a library may link against.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace tfgo {

class Sha256 {
 public:
  // The digest of `data` as 64 lower-case hexadecimal digits; by the processor's own instructions where it has them (some six times faster, which
  // counts for plans of hundreds of megabytes).
  static std::string Hex(std::string_view data) { return Hex(data, HasInstructions()); }

  // The same, by those instructions or without them.
  static std::string Hex(std::string_view data, bool instructions) {
    Sha256 hash(instructions);
    const size_t whole = data.size() / 64;
    hash.Blocks(reinterpret_cast<const uint8_t*>(data.data()), whole);
    hash.Tail(data.substr(whole * 64), uint64_t{data.size()} * 8);
    return hash.Text();
  }

  // Whether this processor has SHA-256 instructions.
  static bool HasInstructions() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool sse41 = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1);
    return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
#else
    return false;
#endif
  }

 private:
  explicit Sha256(bool instructions) : instructions_(instructions) {}

  static uint32_t Rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

  // The first 32 bits of the fractional parts of the cube roots of the first 64 primes, as the standard defines its constants.
  static const std::array<uint32_t, 64>& Constants() {
    static const std::array<uint32_t, 64> constants = [] {
      std::array<uint32_t, 64> values{};
      int found = 0;
      for (int n = 2; found < 64; ++n) {
        bool prime = true;
        for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
        if (prime) values[found++] = Fraction(cbrtl(static_cast<long double>(n)));
      }
      return values;
    }();
    return constants;
  }

  static uint32_t Fraction(long double x) { return static_cast<uint32_t>((x - floorl(x)) * 4294967296.0L); }

  void Blocks(const uint8_t* bytes, size_t count) {
#if defined(__x86_64__)
    if (instructions_) return BlocksByInstructions(bytes, count);
#endif
    for (size_t i = 0; i < count; ++i) Block(bytes + 64 * i);
  }

#if defined(__x86_64__)
  // Intel's SHA extensions (Intel 64 SDM, SHA256RNDS2): two registers hold the state as (A, B, E, F) and (C, D, G, H), four the last 16 words.
  __attribute__((target("sha,sse4.1"))) void BlocksByInstructions(const uint8_t* bytes, size_t count) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const auto* constants = reinterpret_cast<const __m128i*>(Constants().data());
    auto* state = reinterpret_cast<__m128i*>(state_.data());
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xb1), efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; count > 0; --count, bytes += 64) {
      const __m128i abef_before = abef, cdgh_before = cdgh;
      __m128i w[4];
      for (int i = 0; i < 4; ++i) w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes) + i), big_endian);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const __m128i sum = _mm_add_epi32(w[i % 4], _mm_loadu_si128(constants + i));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        if (i >= 12) continue;
        const __m128i last = w[(i + 3) % 4], seven_ago = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
        w[i % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]), seven_ago), last);
      }
      abef = _mm_add_epi32(abef, abef_before);
      cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
  }
#endif

  void Block(const uint8_t* bytes) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i)
      w[i] = uint32_t{bytes[4 * i]} << 24 | uint32_t{bytes[4 * i + 1]} << 16 | uint32_t{bytes[4 * i + 2]} << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (Rotate(a, 7) ^ Rotate(a, 18) ^ a >> 3) + w[i - 7] + (Rotate(b, 17) ^ Rotate(b, 19) ^ b >> 10);
    }
    std::array<uint32_t, 8> s = state_;
    const auto& constants = Constants();
    for (int i = 0; i < 64; ++i) {
      const uint32_t t1 = s[7] + (Rotate(s[4], 6) ^ Rotate(s[4], 11) ^ Rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
      const uint32_t t2 = (Rotate(s[0], 2) ^ Rotate(s[0], 13) ^ Rotate(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]};
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
  }

  void Tail(std::string_view rest, uint64_t bits) {
    uint8_t last[128] = {0};
    std::memcpy(last, rest.data(), rest.size());
    last[rest.size()] = 0x80;
    const size_t size = rest.size() < 56 ? 64 : 128;
    for (int i = 0; i < 8; ++i) last[size - 1 - i] = static_cast<uint8_t>(bits >> (8 * i));
    Blocks(last, size / 64);
  }

  std::string Text() const {
    std::string text;
    char word[9];
    for (uint32_t part : state_) {
      snprintf(word, sizeof(word), "%08x", part);
      text += word;
    }
    return text;
  }

  const bool instructions_;
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_
