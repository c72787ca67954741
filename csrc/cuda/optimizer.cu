// Optimizer steps on the GPU: for any list of tensors one pass over parameters, gradients and states, and before it
// those of gradient_survey.cuh where something has to be known of all gradients.
//
// Bound by memory: 28 bytes an element for Adam in float32, for 40 to 50 instructions.
#include "cpu/optimizer.h"
#include "cuda/error.h"
#include "cuda/step_numbers.cuh"

namespace fnn::cuda {
namespace {

// What the kernel is given beside the numbers of each tensor.
template <class Rule>
struct UpdateArguments {
  DeviceTensors list;
  cpu::Formats formats;
  cpu::StepOptions options;
  DeviceNumbers numbers;
  Rule rule;
  typename Rule::Step step;  // of all tensors, where `steps` is null
  const cpu::TensorStep<Rule>* steps;
  const float* skip;
  Tables8 tables;
};

// One element: the parameter, or what is added to it where the tensor has an `update`.
template <class Rule>
__device__ inline float updated(const cpu::TensorStep<Rule>& numbers, bool only_scales, bool is_update, float p,
                                float g, float* slots) {
  const float scale = numbers.prepare.scale * numbers.prepare.factor;
  const float gradient = prepared(numbers.prepare, only_scales, scale, p, g);
  const float base = is_update ? -numbers.keep.decay * p : numbers.keep.decay == 0.f ? p : numbers.keep(p);
  return numbers.step(base, gradient, slots);
}

// kOwnNumbers: each block works out its tensor's numbers.
template <class Rule, bool kFloat32, bool kOwnNumbers>
__global__ void __launch_bounds__(kPieceThreads)
    update_tensors(const __grid_constant__ UpdateArguments<Rule> arguments) {
  if (arguments.skip != nullptr && *arguments.skip != 0.f) return;
  constexpr int kSlots = Rule::kSlots;
  FNN_SHARED(cpu::TensorStep<Rule>, shared, [1]);
  FNN_SHARED(Tables8, tables, [1]);
  const RunPlace place = find_run(arguments.list, blockIdx.x);
  if (threadIdx.x == 0) {
    const DeviceNumbers& given = arguments.numbers;
    if constexpr (kOwnNumbers) {
      const double lr = given.lr();
      const typename Rule::Step step = arguments.rule.at(lr * place.tensor->lr_scale, given.t());
      shared[0] = cpu::TensorStep<Rule>(step, *place.tensor, given.scaled(arguments.options), lr);
    } else if (arguments.steps != nullptr) {
      shared[0] = arguments.steps[place.number];
    } else {
      shared[0] = cpu::TensorStep<Rule>(arguments.step, *place.tensor, given.scaled(arguments.options), given.lr());
    }
  }
  if (!kFloat32) copy_tables(arguments.tables, tables[0]);
  __syncthreads();
  if (place.begin >= place.tensor->count) return;  // the whole warp
  const cpu::TensorStep<Rule> numbers = shared[0];
  constexpr unsigned kWritten = Access::kParam | Access::slots(kSlots);
  StagedRun<kSlots, kFloat32> run;
  run.load(place, arguments.formats, tables[0], kWritten | Access::kGrad);
  const bool only_scales = numbers.prepare.only_scales(), is_update = place.tensor->update != nullptr;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    float slots[kSlots + 1];
#pragma unroll
    for (int k = 0; k < kSlots; ++k) slots[k] = run.slots[k][i];
    run.param[i] = updated(numbers, only_scales, is_update, run.param[i], run.grad[i], slots);
#pragma unroll
    for (int k = 0; k < kSlots; ++k) run.slots[k][i] = slots[k];
  }
  const std::int64_t t = kFloat32 || arguments.formats.master != Master::stochastic ? 0 : arguments.numbers.t();
  run.store(place, arguments.formats, tables[0], kWritten, run.param, t);
}

template <class Rule>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_tensors(const __grid_constant__ UpdateArguments<Rule> arguments,
                    const __grid_constant__ SurveyResult survey, cpu::TensorStep<Rule>* steps) {
  const std::int64_t i = blockIdx.x * std::int64_t{kPrepareThreads} + threadIdx.x;
  if (i >= arguments.list.tensor_count || survey.skips()) return;
  const DeviceNumbers& numbers = arguments.numbers;
  const cpu::OptimizerTensor& tensor = arguments.list.tensors[i];
  const double lr = numbers.lr();
  steps[i] = cpu::TensorStep<Rule>(arguments.rule.at(lr * tensor.lr_scale, numbers.t()), tensor,
                                   numbers.scaled(arguments.options), lr, survey.factor(i));
}

// Of so many pieces, about what a large GPU works on at once, each block works out the numbers itself, which takes as
// long as a launch does; with more, blocks would do it one after the other. Reckoned, not measured.
constexpr std::int64_t kFewPieces = 512;

// Whether all tensors have the learning rate of the first.
bool same_rates(const cpu::TensorList& list) {
  for (std::int64_t i = 1; i < list.tensor_count; ++i)
    if (list.tensors[i].lr_scale != list.tensors[0].lr_scale) return false;
  return true;
}

template <class Rule>
void run_step(const cpu::OptimizerStep<Rule>& step, cudaStream_t stream) {
  const cpu::TensorList& list = step.list;
  const DeviceTensors& device = *list.device;
  const DeviceNumbers numbers = device_numbers(step);
  const GradientSurvey survey(step, numbers, stream);
  if (device.piece_count == 0) return;
  UpdateArguments<Rule> arguments{device, list.formats, step.options, numbers, step.rule, {}, nullptr, nullptr, {}};
  arguments.skip = survey.result().skip;
  const bool all_float32 = list.formats.all_float32();
  const bool known = !survey.enqueued() && step.by_value && same_rates(list);
  const bool few = !known && !survey.enqueued() && all_float32 && device.piece_count <= kFewPieces;
  std::optional<Workspace> memory;
  if (known) {
    arguments.step = step.rule.at(*step.lr * list.tensors[0].lr_scale, *step.t);
  } else if (!few) {
    memory.emplace(static_cast<std::size_t>(device.tensor_count) * sizeof(cpu::TensorStep<Rule>), stream);
    auto* const steps = memory->as<cpu::TensorStep<Rule>>();
    FNN_CUDA_CHECK(launch(prepare_tensors<Rule>, prepare_grid(device), kPrepareThreads, 0, stream, arguments,
                          survey.result(), steps));
    arguments.steps = steps;
  }
  if (!all_float32) arguments.tables = tables8();
  const auto kernel = !all_float32 ? &update_tensors<Rule, false, false>
                      : few        ? &update_tensors<Rule, true, true>
                                   : &update_tensors<Rule, true, false>;
  FNN_CUDA_CHECK(launch(kernel, piece_grid(device), kPieceThreads, 0, stream, arguments));
}

__global__ void end_update(float* found_inf, std::int64_t* step, std::int64_t* skipped) {
  if (*found_inf == 0.f) return;
  *found_inf = 0.f;
  --*step;
  ++*skipped;
}

}  // namespace

#define FNN_RUN(...)                                                             \
  template <>                                                                    \
  void run(const cpu::OptimizerStep<__VA_ARGS__>& kernel, cudaStream_t stream) { \
    run_step(kernel, stream);                                                    \
  }
FNN_EACH_ELEMENTWISE_RULE(FNN_RUN)

template <>
void run(const cpu::EndUpdate& kernel, cudaStream_t stream) {
  FNN_CUDA_CHECK(launch(end_update, 1, 1, 0, stream, kernel.found_inf, kernel.step, kernel.skipped));
}

}  // namespace fnn::cuda
