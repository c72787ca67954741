// 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): a transform of every 6x6 tile of the input, 36 matrix
// products over the channels, one for each point of the transform, and the way back.
//
// The tiles go through in blocks whose transforms stay in the second-level cache. See cpu/winograd_transform.h.
#pragma once
#include "cpu/conv.h"

namespace fnn::cpu {

// Images to take through all steps of a convolution at once, so that what lies between them stays in cache.
std::int64_t images_at_once(const ConvShape& shape);

// Whether a convolution is one of these and is expected to be faster this way: deep enough that the transforms are
// cheap beside the products, and not mostly made of tiles that stick out of the image.
bool winograd_wins(const ConvShape& shape);

// The convolution of dz that gives dx: its weights are w turned by 180 degrees, with channels and filters exchanged.
ConvShape input_gradient_shape(const ConvShape& shape);

struct WinogradForward : Kernel {
  ConvShape shape;
  const float* x;
  const float* w;
  Flag turned;  // w is the one of the forward pass, for which `shape` is the input_gradient_shape
  float* y;
  Epilogue epilogue;

  Scratch scratch(int threads) const;
  void operator()(const Worker& worker) const;

  void prepare(const Worker& worker) const;
  std::int64_t tiles_per_image() const;
  void compute(const Worker& worker, Range tiles, Images<const float> from, Images<float> to) const;
};

// As ConvWeightGradient; wins only while a transformed dw for each thread is small.
struct WinogradWeightGradient : Kernel {
  ConvShape shape;
  const float* x;
  const float* dz;
  float* dw;
  bool accumulate;

  static bool wins(const ConvShape& shape, int threads);
  Scratch scratch(int threads) const;

  std::int64_t tiles_per_image() const;
  void add(const Worker& worker, Range tiles, Images<const float> from, bool first) const;
  void finish(const Worker& worker) const;
};

}  // namespace fnn::cpu
