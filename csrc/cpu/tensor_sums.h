// Sums over whole tensors that several threads work on, each adding up its own pieces.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/thread_team.h"

namespace fnn::cpu {

// For each tensor kCount sums: rows[rank][tensor][k] in shared memory, each worker filling its row. Added up in the
// order of the ranks, for every worker alike.
template <int kCount>
class TensorSums {
 public:
  static std::size_t bytes(int threads, std::int64_t tensors) {
    return static_cast<std::size_t>(threads * tensors) * kCount * sizeof(double);
  }

  TensorSums(double* rows, std::int64_t tensors, const Worker& worker)
      : rows_(rows), own_(rows + worker.rank * tensors * kCount), tensors_(tensors), workers_(worker.size) {
    std::fill(own_, own_ + tensors * kCount, 0.0);
  }

  void add(std::int64_t tensor, int k, double value) const { own_[tensor * kCount + k] += value; }
  // After all workers have added what is theirs, and met.
  double of(std::int64_t tensor, int k) const {
    double sum = 0;
    for (int rank = 0; rank < workers_; ++rank) sum += rows_[(rank * tensors_ + tensor) * kCount + k];
    return sum;
  }
  double of_all(int k) const {
    double sum = 0;
    for (std::int64_t tensor = 0; tensor < tensors_; ++tensor) sum += of(tensor, k);
    return sum;
  }

 private:
  double *rows_, *own_;
  std::int64_t tensors_;
  int workers_;
};

}  // namespace fnn::cpu
