// SHA-256 (FIPS 180-4) and HMAC with it (RFC 2104): whoever knows the job's secret may join.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fnn::comm {

using Digest = std::array<std::uint8_t, 32>;

Digest sha256(std::string_view message);
Digest hmac_sha256(std::string_view key, std::string_view message);

inline std::string text_of(const Digest& digest) { return {digest.begin(), digest.end()}; }

// Takes the same time wherever they differ.
inline bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace fnn::comm
