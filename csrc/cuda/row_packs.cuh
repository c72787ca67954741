// Rows of a matrix and the threads that share one: some lanes of a warp, or a block. A thread has every so many of the
// row's packs (cuda/pack.cuh), its turns.
#pragma once
#include <cstdint>

#include "cuda/pack.cuh"
#include "cuda/reduce.cuh"

namespace fnn::cuda {

// The packs of one thread, number `rank` among `threads`.
struct RowPacks {
  std::int64_t cols;
  bool whole;  // whether packs may be read as such
  int threads, rank;

  __device__ std::int64_t at(std::int64_t turn) const { return (turn * threads + rank) * kPack; }
  __device__ std::int64_t left(std::int64_t turn) const { return cols - at(turn); }
  __device__ Pack load(const float* row, std::int64_t turn, float fill) const {
    return load_pack(row + at(turn), left(turn), whole, fill);
  }
  __device__ void store(float* row, std::int64_t turn, const Pack& pack) const {
    store_pack(row + at(turn), pack, left(turn), whole);
  }
};

// Whether the rows of all these matrices may be read in packs.
template <class... T>
inline bool whole_packs(std::int64_t cols, const T*... pointers) {
  return cols % kPack == 0 && aligned(pointers...);
}

// kLanes neighbouring lanes of a warp have a row; all of the warp's call each of these together.
template <int kLanes>
struct LaneTeam {
  __device__ static int rank() { return static_cast<int>(threadIdx.x) % kLanes; }
  __device__ static constexpr int size() { return kLanes; }
  // Over the team, for each of its threads.
  template <class Op, class T>
  __device__ static T reduce(T value, Op op) {
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, offset));
    return value;
  }
  // What was read before is read before anything is written after.
  __device__ static void meet() { __syncwarp(); }
};

// A block has a row.
struct BlockTeam {
  __device__ static int rank() { return static_cast<int>(threadIdx.x); }
  __device__ static int size() { return static_cast<int>(blockDim.x); }
  template <class Op, class T>
  __device__ static T reduce(T value, Op op) {
    return block_reduce(value, op);
  }
  __device__ static void meet() { __syncthreads(); }
};

// A row that its threads hold in registers, each of them kTurns packs, and so read once.
template <class Team, int kTurns>
class HeldRow {
 public:
  __device__ HeldRow(const float* row, const RowPacks& packs, float fill) : packs(packs) {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) held_[turn] = packs.load(row, turn, fill);
  }
  // Calls body(turn, pack) for this thread's packs.
  template <class Body>
  __device__ void each(const Body& body) {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) body(turn, held_[turn]);
  }
  const RowPacks packs;

 private:
  Pack held_[kTurns];
};

// A longer row, which is read anew each time.
template <class Team>
class ReadRow {
 public:
  __device__ ReadRow(const float* row, const RowPacks& packs, float fill) : packs(packs), row_(row), fill_(fill) {}
  template <class Body>
  __device__ void each(const Body& body) {
    for (std::int64_t turn = 0; packs.left(turn) > 0; ++turn) {
      Pack pack = packs.load(row_, turn, fill_);
      if (exponentials_)
        for (float& v : pack.v) v = exp(v - shift_);
      body(turn, pack);
    }
  }
  // From here on `each` sees exp(x - shift).
  __device__ void exponentiate(float shift) {
    shift_ = shift;
    exponentials_ = true;
  }
  const RowPacks packs;

 private:
  const float* row_;
  float fill_, shift_ = 0.f;
  bool exponentials_ = false;
};

struct Exponentials {
  float max, sum;
};

// From here on the row's `each` sees exp(x - max); these are the maximum and the sum of all of them. The row was filled
// with -inf.
template <class Team, int kTurns>
__device__ inline Exponentials exponentials(HeldRow<Team, kTurns>& row) {
  float max = -INFINITY, sum = 0.f;
  row.each([&](int, const Pack& x) {
    for (float v : x.v) max = Largest()(max, v);
  });
  max = Team::reduce(max, Largest());
  row.each([&](int, Pack& x) {
    for (float& v : x.v) sum += v = exp(v - max);
  });
  return {max, Team::reduce(sum, Sum())};
}

// exp(x - shift), where both may be -inf: that is an element that doesn't count.
__device__ inline float shifted_exp(float x, float shift) {
  return x == -INFINITY && shift == -INFINITY ? 0.f : exp(x - shift);
}

// The same in one pass (Milakov and Gimelshein, 2018, "Online normalizer calculation for softmax", arXiv:1805.02867).
template <class Team>
__device__ inline Exponentials exponentials(ReadRow<Team>& row) {
  float largest = -INFINITY, sum = 0.f;
  row.each([&](std::int64_t, const Pack& x) {
    const float before = largest;
    for (float v : x.v) largest = Largest()(largest, v);
    sum *= shifted_exp(before, largest);
    for (float v : x.v) sum += shifted_exp(v, largest);
  });
  const float max = Team::reduce(largest, Largest());
  row.exponentiate(max);
  return {max, Team::reduce(sum * shifted_exp(largest, max), Sum())};
}

}  // namespace fnn::cuda
