// SHA-256 (FIPS 180-4), for the digest of a plan: the wheel of TensorFlow exports none that a library may link against.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace tfgo {

class Sha256 {
 public:
  // The digest of `data` as 64 lower-case hexadecimal digits.
  static std::string Hex(std::string_view data) {
    Sha256 hash;
    const size_t whole = data.size() / 64 * 64;
    for (size_t at = 0; at < whole; at += 64) hash.Block(reinterpret_cast<const uint8_t*>(data.data()) + at);
    hash.Tail(data.substr(whole), uint64_t{data.size()} * 8);
    return hash.Text();
  }

 private:
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
    for (size_t at = 0; at < size; at += 64) Block(last + at);
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

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace tfgo

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_SHA256_H_
