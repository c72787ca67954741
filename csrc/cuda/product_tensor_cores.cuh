// A block's tile of a matrix product on the tensor cores, from float32 in shared memory: operands are rounded on their
// way into registers.
//
// No ldmatrix: that takes elements of 16 bits as they lie. Since any order of depth, rows and columns will do, a lane
// reads 16 bytes at once here too: 4 neighbours in depth of one row, or 4 neighbouring rows at one depth, and
// keeps the order in mind.
#pragma once
#include "cuda/product_tile.cuh"
#include "cuda/tensor_core.cuh"

namespace fnn::cuda {

// kRows x kColumns of C; a warp has 64x32 or 32x32.
template <Compute compute, int rows, int columns, int stages, class OperandA, class OperandB>
class TensorTile {
 public:
  static constexpr int kRows = rows, kColumns = columns;
  static constexpr int kThreads = rows * columns >= 128 * 64 ? 256 : 128;
  // On a multiprocessor at once, for their registers. Of the large tiles, sm_86, 89 and 120 have shared memory for one.
  // Without tensor cores the products take more registers than two blocks can have.
  static constexpr bool kOne =
      (kArchitecture == 860 || kArchitecture == 890 || kArchitecture == 1200) && columns == 128;
  static constexpr int kBlocks = kOne || !TensorCore<compute>::kInHardware ? 1 : 512 / kThreads;
  static constexpr int kSlabs = 1, kSlabRows = rows;
  using LayoutA = TileLayout<OperandA::kAlongDepth, rows, 32, 0>;
  using LayoutB = TileLayout<OperandB::kAlongDepth, columns, 32, 0>;
  static constexpr int kStages = stages;
  static constexpr int kOwnShared = kMostShown * static_cast<int>(sizeof(ShownRegisters));  // without tensor cores

  __device__ void multiply(const float* a, const float* b) {
    const int thread = thread_anew(), lane = thread % 32;
    const int row = thread / 32 / kWarpsAcross * kHeight, column = thread / 32 % kWarpsAcross * kWidth;
#pragma unroll 1
    for (int half = 0; half < LayoutA::kDepth; half += 16) {
      Fragments<4> right;
      right.template read<LayoutB>(b, column, half, lane);
#pragma unroll
      for (int first = 0; first < kHeight / 8; first += kEights) {
        Fragments<kEights> left;
        left.template read<LayoutA>(a, row + 8 * first, half, lane);
        add_products(left, right, first);
      }
    }
  }

  template <int, class Visit>
  __device__ void for_each(const Visit& visit) const {
    const int thread = static_cast<int>(threadIdx.x), g = thread % 32 / 4, t = thread % 4;
    const int row = thread / 32 / kWarpsAcross * kHeight, column = thread / 32 % kWarpsAcross * kWidth;
#pragma unroll
    for (int i = 0; i < kHeight / 16; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          visit(row + i / 2 * 32 + place<LayoutA>(g, i % 2 * 2 + e / 2), column + place<LayoutB>(2 * t + e % 2, j),
                sums_[i][j][e]);
  }

 private:
  using Core = TensorCore<compute>;
  static constexpr int kWarpsAcross = columns >= 128 ? 4 : 2, kWarpsDown = kThreads / 32 / kWarpsAcross;
  static constexpr int kHeight = rows / kWarpsDown, kWidth = columns / kWarpsAcross;  // of a warp
  static constexpr int kSteps = 16 / (8 * Core::kPerRegister);                        // products over 16 of depth
  static constexpr int kEights = LayoutA::kAlongDepth ? 2 : 4;                        // of rows of A in registers
  static_assert(kHeight % 32 == 0 && kWidth == 32);

  // Of 32 rows (or columns), which an instruction takes eight by eight: number g of the i-th eight.
  template <class Layout>
  static __device__ int place(int g, int i) {
    return Layout::kAlongDepth ? 8 * i + g : 4 * g + i;
  }

  // What a lane holds of some rows: of row g = lane / 4 of each eight, the places k, k + 1, k + 2, k + 3 in depth,
  // where k = 4 (lane % 4).
  template <int kCount>
  struct Fragments {
    static constexpr int kRegisters = 4 / Core::kPerRegister;
    std::uint32_t packed[kCount][kRegisters];

    template <class Layout>
    __device__ void read(const float* tile, int first, int half, int lane) {
      const int g = lane / 4, t = lane % 4;
      if constexpr (Layout::kAlongDepth) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          const float4 at =
              *reinterpret_cast<const float4*>(tile + Layout::at(first + place<Layout>(g, i), half + 4 * t));
          const float values[4] = {at.x, at.y, at.z, at.w};
#pragma unroll
          for (int r = 0; r < kRegisters; ++r) packed[i][r] = Core::pack(values + r * Core::kPerRegister);
        }
      } else {
        static_assert(kCount == 4);
#pragma unroll
        for (int r = 0; r < kRegisters; ++r) {
          float values[4][Core::kPerRegister];  // row, place in depth
#pragma unroll
          for (int step = 0; step < Core::kPerRegister; ++step) {
            const int line = half + 4 * (r * Core::kPerRegister + step) + t;  // of place half + 4t + ... in depth
            const float* from = tile + line * Layout::kPitch + first + place<Layout>(g, 0);
            const float4 at = *reinterpret_cast<const float4*>(from);
            values[0][step] = at.x;
            values[1][step] = at.y;
            values[2][step] = at.z;
            values[3][step] = at.w;
          }
#pragma unroll
          for (int i = 0; i < 4; ++i) packed[i][r] = Core::pack(values[i]);
        }
      }
    }
  };

  __device__ void add_products(const Fragments<kEights>& left, const Fragments<4>& right, int first) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::uint32_t of_b[2] = {right.packed[j][2 * step], right.packed[j][2 * step + 1]};
#pragma unroll
        for (int i = 0; i < kEights; i += 2) {
          const auto &upper = left.packed[i], &lower = left.packed[i + 1];
          const std::uint32_t of_a[4] = {upper[2 * step], lower[2 * step], upper[2 * step + 1], lower[2 * step + 1]};
          multiply_fragments<compute>(sums_[(first + i) / 2][j], of_a, of_b);
        }
      }
  }

  float sums_[kHeight / 16][4][4] = {};
};

}  // namespace fnn::cuda
