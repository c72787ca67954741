// The transforms of Winograd's F(4x4, 3x3): 16 outputs of a 3x3 convolution from 36 multiplications instead of 144.
//
//   y = A^T [(G g G^T) * (B^T d B)] A        for a tile d of 6x6 inputs, a 3x3 kernel g and 4x4 outputs y
//
// after A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). The interpolation points
// are 0, +-a, +-b and infinity with a = 1/sqrt(2) and b = sqrt(2), not the paper's 0, +-1, +-2: no power in the
// matrices exceeds 2.83, and the error against float64 is a fifth (1e-6 of the largest output at 32 channels, 3e-6 at
// 256; the direct sum has 2e-7 to 4e-7).
//
// The adjoints of the three maps give the weight gradient. All are sums of even and odd parts, of +-a and +-b.
#pragma once
#include "cpu/simd.h"

namespace fnn::cpu::winograd {

inline constexpr int kOut = 4;   // outputs of a tile along an axis
inline constexpr int kIn = 6;    // inputs
inline constexpr int kTaps = 3;  // of the kernel
inline constexpr int kPoints = kIn * kIn;

inline constexpr float kA = 0.70710678118654752440f, kB = 1.41421356237309504880f;
inline constexpr float kA2 = 0.5f, kB2 = 2.f, kA3 = 0.35355339059327376220f, kB3 = 2.82842712474619009760f;
inline constexpr float kWeightA = -1.f / 1.5f, kWeightB = 1.f / 6.f;  // 1 / product of the differences to other points

// B^T
struct Input {
  static constexpr int kFrom = kIn, kTo = kIn;
  static FNN_INLINE void apply(const Vec (&d)[kIn], Vec (&v)[kIn]) {
    const Vec even_a = d[4] - Vec(kB2) * d[2], odd_a = d[3] - Vec(kB2) * d[1];
    const Vec even_b = d[4] - Vec(kA2) * d[2], odd_b = d[3] - Vec(kA2) * d[1];
    v[0] = (d[0] + d[4]) - Vec(kA2 + kB2) * d[2];
    v[1] = even_a + Vec(kA) * odd_a;
    v[2] = even_a - Vec(kA) * odd_a;
    v[3] = even_b + Vec(kB) * odd_b;
    v[4] = even_b - Vec(kB) * odd_b;
    v[5] = (d[1] + d[5]) - Vec(kA2 + kB2) * d[3];
  }
};

// A^T
struct Output {
  static constexpr int kFrom = kIn, kTo = kOut;
  static FNN_INLINE void apply(const Vec (&m)[kIn], Vec (&y)[kOut]) {
    const Vec sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const Vec sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] = m[0] + (sum_a + sum_b);
    y[1] = Vec(kA) * difference_a + Vec(kB) * difference_b;
    y[2] = Vec(kA2) * sum_a + Vec(kB2) * sum_b;
    y[3] = m[5] + Vec(kA3) * difference_a + Vec(kB3) * difference_b;
  }
};

// A
struct OutputAdjoint {
  static constexpr int kFrom = kOut, kTo = kIn;
  static FNN_INLINE void apply(const Vec (&y)[kOut], Vec (&m)[kIn]) {
    const Vec even_a = y[0] + Vec(kA2) * y[2], odd_a = y[1] + Vec(kA2) * y[3];
    const Vec even_b = y[0] + Vec(kB2) * y[2], odd_b = y[1] + Vec(kB2) * y[3];
    m[0] = y[0];
    m[1] = even_a + Vec(kA) * odd_a;
    m[2] = even_a - Vec(kA) * odd_a;
    m[3] = even_b + Vec(kB) * odd_b;
    m[4] = even_b - Vec(kB) * odd_b;
    m[5] = y[3];
  }
};

// G
struct Weight {
  static constexpr int kFrom = kTaps, kTo = kIn;
  static FNN_INLINE void apply(const Vec (&g)[kTaps], Vec (&u)[kIn]) {
    const Vec even_a = Vec(kWeightA) * g[0] + Vec(kWeightA * kA2) * g[2], odd_a = Vec(kWeightA * kA) * g[1];
    const Vec even_b = Vec(kWeightB) * g[0] + Vec(kWeightB * kB2) * g[2], odd_b = Vec(kWeightB * kB) * g[1];
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
};

// G^T
struct WeightAdjoint {
  static constexpr int kFrom = kIn, kTo = kTaps;
  static FNN_INLINE void apply(const Vec (&u)[kIn], Vec (&g)[kTaps]) {
    const Vec sum_a = u[1] + u[2], difference_a = u[1] - u[2];
    const Vec sum_b = u[3] + u[4], difference_b = u[3] - u[4];
    g[0] = u[0] + (Vec(kWeightA) * sum_a + Vec(kWeightB) * sum_b);
    g[1] = Vec(kWeightA * kA) * difference_a + Vec(kWeightB * kB) * difference_b;
    g[2] = u[5] + (Vec(kWeightA * kA2) * sum_a + Vec(kWeightB * kB2) * sum_b);
  }
};

// Applies a transform along both axes of a square: get(i, j) is an element, put(i, j, value) takes a result.
template <class Map, class Get, class Put>
FNN_INLINE void transform(const Get& get, const Put& put) {
  Vec half[Map::kTo][Map::kFrom];
#pragma GCC unroll 6
  for (int j = 0; j < Map::kFrom; ++j) {
    Vec from[Map::kFrom], to[Map::kTo];
#pragma GCC unroll 6
    for (int i = 0; i < Map::kFrom; ++i) from[i] = get(i, j);
    Map::apply(from, to);
#pragma GCC unroll 6
    for (int i = 0; i < Map::kTo; ++i) half[i][j] = to[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Map::kTo; ++i) {
    Vec to[Map::kTo];
    Map::apply(half[i], to);
#pragma GCC unroll 6
    for (int j = 0; j < Map::kTo; ++j) put(i, j, to[j]);
  }
}

}  // namespace fnn::cpu::winograd
