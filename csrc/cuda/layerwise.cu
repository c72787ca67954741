// Steps of LAMB and LARS on the GPU: a pass over all tensors for their two norms, one for the rest. LAMB moves its
// states on in the first and reads them in the second.
#include "cpu/layerwise.h"
#include "cuda/error.h"
#include "cuda/step_numbers.cuh"

namespace fnn::cuda {
namespace {

template <class Rule>
struct LayerArguments {
  DeviceTensors list;
  cpu::Formats formats;
  cpu::StepOptions options;
  DeviceNumbers numbers;
  Rule rule;
  cpu::LayerNumbers<Rule>* layers;  // one a tensor
  double* pieces;                   // of each piece the squares of parameters and directions
  double* sums;                     // of each tensor
  const float* skip;
  Tables8 tables;

  __device__ bool skips() const { return skip != nullptr && *skip != 0.f; }
};

template <class Rule>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_layers(const __grid_constant__ LayerArguments<Rule> arguments,
                   const __grid_constant__ SurveyResult survey) {
  const std::int64_t i = blockIdx.x * std::int64_t{kPrepareThreads} + threadIdx.x;
  if (i >= arguments.list.tensor_count || survey.skips()) return;
  const DeviceNumbers& numbers = arguments.numbers;
  const cpu::StepOptions options = numbers.scaled(arguments.options);
  arguments.layers[i] = cpu::LayerNumbers<Rule>(arguments.rule, arguments.list.tensors[i], options, numbers.lr(),
                                                numbers.t(), survey.factor(i));
}

template <class Rule>
__device__ inline float prepared_gradient(const cpu::LayerNumbers<Rule>& numbers, bool only_scales, float p, float g) {
  return prepared(numbers.prepare, only_scales, numbers.prepare.scale * numbers.prepare.factor, p, g);
}

template <class Rule, bool kFloat32>
__global__ void __launch_bounds__(kPieceThreads, 2) find_norms(const __grid_constant__ LayerArguments<Rule> arguments) {
  if (arguments.skips()) return;
  constexpr int kSlots = Rule::kStatesInFirst ? Rule::kSlots : 0;
  FNN_SHARED(Tables8, tables, [1]);
  if (!kFloat32) copy_tables(arguments.tables, tables[0]);
  __syncthreads();
  const RunPlace place = find_run(arguments.list, blockIdx.x);
  double params = 0.0, directions = 0.0;
  if (place.begin < place.tensor->count) {
    const cpu::LayerNumbers<Rule> numbers = arguments.layers[place.number];
    const bool only_scales = numbers.prepare.only_scales();
    constexpr unsigned kStates = Access::slots(kSlots);
    StagedRun<kSlots, kFloat32> run;
    run.load(place, arguments.formats, tables[0], Access::kParam | Access::kGrad | kStates);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      float slots[kSlots + 1];
#pragma unroll
      for (int k = 0; k < kSlots; ++k) slots[k] = run.slots[k][i];
      const float p = run.param[i], kept = numbers.keep(p);
      const float g = prepared_gradient(numbers, only_scales, p, run.grad[i]);
      const float direction = numbers.step.first(kept, g, numbers.decay, slots);
#pragma unroll
      for (int k = 0; k < kSlots; ++k) run.slots[k][i] = slots[k];
      if (!place.has(i)) continue;
      params += static_cast<double>(kept) * static_cast<double>(kept);
      directions += static_cast<double>(direction) * static_cast<double>(direction);
    }
    run.store(place, arguments.formats, tables[0], kStates, run.param, 0);
  }
  params = block_sum(params);
  directions = block_sum(directions);
  if (threadIdx.x != 0) return;
  arguments.pieces[2 * std::int64_t{blockIdx.x}] = params;
  arguments.pieces[2 * std::int64_t{blockIdx.x} + 1] = directions;
}

template <class Rule, bool kFloat32>
__global__ void __launch_bounds__(kPieceThreads) update_layers(const __grid_constant__ LayerArguments<Rule> arguments) {
  if (arguments.skips()) return;
  constexpr int kSlots = Rule::kSlots;
  FNN_SHARED(Tables8, tables, [1]);
  FNN_SHARED(float, ratio, [1]);
  const RunPlace place = find_run(arguments.list, blockIdx.x);
  if (!kFloat32) copy_tables(arguments.tables, tables[0]);
  if (threadIdx.x == 0) {
    const double* sums = arguments.sums + 2 * place.number;
    ratio[0] = static_cast<float>(place.tensor->adapts ? arguments.rule.ratio(::sqrt(sums[0]), ::sqrt(sums[1])) : 1.0);
  }
  __syncthreads();
  if (place.begin >= place.tensor->count) return;  // the whole warp
  const cpu::LayerNumbers<Rule> numbers = arguments.layers[place.number];
  const bool only_scales = numbers.prepare.only_scales();
  constexpr unsigned kStates = Access::slots(kSlots);
  StagedRun<kSlots, kFloat32> run;
  run.load(place, arguments.formats, tables[0], Access::kParam | kStates | (Rule::kGradInSecond ? Access::kGrad : 0u));
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    float slots[kSlots + 1];
#pragma unroll
    for (int k = 0; k < kSlots; ++k) slots[k] = run.slots[k][i];
    const float p = run.param[i];
    float g = 0.f;
    if constexpr (Rule::kGradInSecond) g = prepared_gradient(numbers, only_scales, p, run.grad[i]);
    const float kept = numbers.keep(p), base = numbers.whole * p - numbers.keep.decay * p;
    run.param[i] = numbers.step.second(base, kept, g, numbers.decay, slots, ratio[0]);
#pragma unroll
    for (int k = 0; k < kSlots; ++k) run.slots[k][i] = slots[k];
  }
  const std::int64_t t = kFloat32 || arguments.formats.master != Master::stochastic ? 0 : arguments.numbers.t();
  const unsigned written = Access::kParam | (Rule::kStatesInFirst ? 0u : kStates);
  run.store(place, arguments.formats, tables[0], written, run.param, t);
}

template <class Rule>
void run_step(const cpu::LayerwiseStep<Rule>& step, cudaStream_t stream) {
  const cpu::TensorList& list = step.list;
  const DeviceTensors& device = *list.device;
  const DeviceNumbers numbers = device_numbers(step);
  const GradientSurvey survey(step, numbers, stream);
  if (device.piece_count == 0) return;
  const auto tensors = static_cast<std::size_t>(device.tensor_count);
  const auto pieces = static_cast<std::size_t>(device.piece_count);
  const Workspace sums(2 * (tensors + pieces) * sizeof(double), stream);
  const Workspace layers(tensors * sizeof(cpu::LayerNumbers<Rule>), stream);
  const bool all_float32 = list.formats.all_float32();
  LayerArguments<Rule> arguments{device,  list.formats,      step.options,         numbers, step.rule, nullptr,
                                 nullptr, sums.as<double>(), survey.result().skip, {}};
  arguments.layers = layers.as<cpu::LayerNumbers<Rule>>();
  arguments.pieces = arguments.sums + 2 * tensors;
  if (!all_float32) arguments.tables = tables8();
  FNN_CUDA_CHECK(
      launch(prepare_layers<Rule>, prepare_grid(device), kPrepareThreads, 0, stream, arguments, survey.result()));
  const auto first = all_float32 ? &find_norms<Rule, true> : &find_norms<Rule, false>;
  FNN_CUDA_CHECK(launch(first, piece_grid(device), kPieceThreads, 0, stream, arguments));
  add_pieces(device, 2, arguments.pieces, arguments.sums, stream);
  const auto second = all_float32 ? &update_layers<Rule, true> : &update_layers<Rule, false>;
  FNN_CUDA_CHECK(launch(second, piece_grid(device), kPieceThreads, 0, stream, arguments));
}

}  // namespace

template <>
void run(const cpu::LayerwiseStep<LambRule>& kernel, cudaStream_t stream) {
  run_step(kernel, stream);
}
template <>
void run(const cpu::LayerwiseStep<LarsRule<false>>& kernel, cudaStream_t stream) {
  run_step(kernel, stream);
}
template <>
void run(const cpu::LayerwiseStep<LarsRule<true>>& kernel, cudaStream_t stream) {
  run_step(kernel, stream);
}

}  // namespace fnn::cuda
