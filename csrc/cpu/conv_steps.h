// The backward pass of a convolution a few images at a time: dz of these images is made, and used for db, dw and dx
// while it is in cache. Each thread takes its own images; dw and db are summed from the threads' parts at the end.
#pragma once
#include <algorithm>

#include "cpu/conv.h"
#include "cpu/gradient.h"
#include "cpu/winograd.h"

namespace fnn::cpu {

class ConvSteps {
 public:
  explicit ConvSteps(const ConvGradients& gradients) : g_(gradients) {}

  // dw must fit in parts; and a matrix product (of a 1x1 convolution) is faster as a whole.
  static bool possible(const ConvGradients& g, int threads) {
    return !g.shape.is_product() && g.weight_gradient().in_parts(threads);
  }

  Scratch scratch(int threads) const {
    const Scratch dx = g_.input_gradient().scratch(threads), dw = g_.weight_gradient().scratch(threads);
    return {whole_lines(dx.shared) + whole_lines(dw.shared) + static_cast<std::size_t>(threads) * bias_bytes(),
            std::max(dx.per_thread, dw.per_thread)};
  }

  // make(images) makes dz of these images and returns where it lies.
  template <class MakeGradient>
  void run(const Worker& worker, const MakeGradient& make) const {
    const ConvInputGradient input = g_.input_gradient();
    const ConvWeightGradient weight = g_.weight_gradient();
    std::byte* dw_parts = worker.shared<std::byte>() + whole_lines(input.scratch(worker.size).shared);
    std::byte* db_parts = dw_parts + whole_lines(weight.scratch(worker.size).shared);
    float* db = reinterpret_cast<float*>(db_parts + static_cast<std::size_t>(worker.rank) * bias_bytes());
    const Worker for_dw = worker.with(dw_parts, worker.scratch<void>());
    if (g_.dx != nullptr) {
      input.prepare(worker);
      worker.barrier();
    }
    const Range mine = share(g_.shape.n, worker.rank, worker.size);
    const std::int64_t step = images_at_once(g_.shape);
    bool first = true;
    for (std::int64_t image = mine.begin; first || image < mine.end; image += step) {
      const Range images = {image, std::min(image + step, mine.end)};
      const Images<const float> dz = make(images);
      if (g_.db != nullptr) column_sums(dz[image], db, images.size() * g_.shape.pixels(), g_.shape.f, !first);
      if (g_.dw != nullptr) weight.add(for_dw, images, dz, first);
      if (g_.dx != nullptr) input.compute(worker, images, dz);
      first = false;
    }
    worker.barrier();
    if (g_.dw != nullptr) weight.finish(for_dw);
    if (g_.db != nullptr) sum_bias(worker, db_parts);
  }

 private:
  static std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t bias_bytes() const { return whole_lines(static_cast<std::size_t>(g_.shape.f) * sizeof(float)); }

  void sum_bias(const Worker& worker, const std::byte* parts) const {
    if (worker.rank != 0) return;
    for (int part = 0; part < worker.size; ++part) {
      const float* from = reinterpret_cast<const float*>(parts + static_cast<std::size_t>(part) * bias_bytes());
      column_sums(from, g_.db, 1, g_.shape.f, g_.accumulate || part > 0);
    }
  }

  const ConvGradients& g_;
};

}  // namespace fnn::cpu
