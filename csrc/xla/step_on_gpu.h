// How a handler's step runs on a GPU: enqueued in the stream that XLA hands over.
//
// The step's number, the learning rate and the gradients' scale are read on the GPU. A traced hyperparameter beside
// them has to be known here: the host waits for it.
#pragma once
#include <type_traits>

#include "cpu/layerwise.h"
#include "cpu/muon.h"
#include "cuda/device_tensors.h"
#include "cuda/traced_numbers.h"
#include "cuda/workspace.h"
#include "xla/tensors.h"

namespace fnn::xla {

inline cpu::StepOptions step_options(const Call& call) {
  cpu::StepOptions options;
  options.weight_decay = call.number("weight_decay");
  options.decoupled = call.integer("decoupled") != 0;
  options.clip_norm = static_cast<float>(call.number("clip_norm"));
  options.clip_value = static_cast<float>(call.number("clip_value"));
  options.skip_nonfinite = call.integer("skip_nonfinite") != 0;
  return options;
}

// The last result, which says whether the step was skipped; null if it can't be.
inline float* skip_result(const Call& call, const cpu::StepOptions& options) {
  if (!options.skip_nonfinite) return nullptr;
  const Array found = call.result(call.result_count() - 1);
  FNN_CHECK(found.dtype == DataType::f32 && found.count == 1, "the last result says whether the step was skipped");
  return found.floats();
}

template <class Kernel, class Rule>
void step_together(const Call& call, const Rule& rule) {
  const cpu::StepOptions options = step_options(call);
  cpu::TensorList list = read_tensors(call, Rule::kSlots);
  for (std::int64_t i = 0; std::is_same_v<Rule, MuonRule> && i < list.tensor_count; ++i) {
    FNN_CHECK(list.tensors[i].rows > 0, "every tensor is a matrix");
  }
  const cudaStream_t stream = call.stream();
  const std::size_t table = cuda::table_bytes(list.tensor_count);
  const cuda::Workspace memory(table + sizeof(cuda::GatheredNumbers), stream);
  const cuda::DeviceTensors device = cuda::put_table(stream, list.tensors, list.tensor_count, memory.as<void>());
  list.device = &device;
  auto* const numbers = reinterpret_cast<cuda::GatheredNumbers*>(memory.as<std::byte>() + table);
  float* const found_inf = skip_result(call, options);
  cuda::gather_numbers(stream, call.traced("learning_rate"), call.traced_counter(0), call.traced("grad_scale"), numbers,
                       found_inf);
  Kernel kernel(list, rule, options, &numbers->lr, &numbers->t, found_inf);
  kernel.loss_scale = &numbers->loss_scale;
  cuda::run(kernel, stream);
}

template <class Rule>
void step(const Call& call, const Rule& rule) {
  step_together<cpu::OptimizerStep<Rule>>(call, rule);
}

}  // namespace fnn::xla
