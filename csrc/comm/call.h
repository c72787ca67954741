// What a rank asks for: one collective operation over the arrays of all ranks.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

namespace fnn::comm {

enum class Kind : std::uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, barrier, allocate };
enum class Combine : std::uint8_t { sum, mean, max, min };
enum class Type : std::uint8_t { f32, f64, f16, bf16, i32, i64 };
enum class Wire : std::uint8_t { full, bf16, f16 };  // how float32 travels between hosts
// From `device` on the ranks only meet: the data goes from GPU to GPU, by the best way, a ring or NCCL.
enum class Algorithm : std::uint8_t { best, ring, device, device_ring, device_nccl };
inline bool only_meets(Algorithm algorithm) { return algorithm >= Algorithm::device; }

inline std::int64_t size_of(Type type) {
  return type == Type::f64 || type == Type::i64 ? 8 : type == Type::f16 || type == Type::bf16 ? 2 : 4;
}

// `count` is in elements: of the whole array for all_reduce and broadcast, of one rank's part for reduce_scatter (whose
// input has world times as many) and for all_gather (whose output has).
struct Call {
  Kind kind = Kind::barrier;
  Combine combine = Combine::sum;
  Type type = Type::f32;
  Wire wire = Wire::full;
  Algorithm algorithm = Algorithm::best;
  int root = 0;
  std::uint32_t layout = 0;  // which element is where: 0 for C order, see text_of() for others
  std::int64_t count = 0;
  const void* in = nullptr;
  void* out = nullptr;  // equal to `in` for all_reduce and broadcast
  // Of an all_reduce inside a host: only its first rank gets the result, the others' `out` stays as it is (and needn't
  // be). Where the sums go on to other hosts, nobody else has a use for them.
  bool to_first = false;
};

// Travels ahead of every operation's data, so that what doesn't fit together is found before it's combined.
struct Header {
  Header() : operation(0), root(0) {}

  std::uint64_t operation : 40, root : 24;
  std::int64_t count = 0;
  std::uint64_t mapped = 0;  // where the array lies in memory that the host's ranks share; 0: it's private
  std::uint32_t layout = 0;
  Kind kind = Kind::barrier;
  Combine combine = Combine::sum;
  Type type = Type::f32;
  std::uint8_t way = 0;  // the wire format and the algorithm

  // Apart from `mapped`, which may differ.
  bool fits(const Header& other) const {
    return operation == other.operation && count == other.count && root == other.root && layout == other.layout &&
           kind == other.kind && combine == other.combine && type == other.type && way == other.way;
  }
};
static_assert(sizeof(Header) == 32, "half a cache line");

Header header_of(const Call& call, std::uint64_t operation, std::uint64_t mapped = 0);
const char* name_of(Kind kind);
std::string text_of(const Header& header);  // "all_reduce(sum, float32, 1024 elements)"

}  // namespace fnn::comm
