#include "cuda/error.h"
#include "cuda/gradient_survey.cuh"

namespace fnn::cuda {
namespace {

constexpr unsigned kSumThreads = 256;

struct SurveyArguments {
  DeviceTensors list;
  cpu::Formats formats;
  cpu::StepOptions options;
  DeviceNumbers numbers;
};

// Of each piece the sum of the squares of its gradients, scaled, and `regularizes`: with what regularisation adds.
template <bool kFloat32>
__global__ void __launch_bounds__(kPieceThreads) sum_squares(const __grid_constant__ SurveyArguments arguments,
                                                             bool regularizes, const float* skip, double* pieces) {
  if (skip != nullptr && *skip != 0.f) return;
  const RunPlace place = find_run(arguments.list, blockIdx.x);
  const Preparation prepare(*place.tensor, arguments.numbers.scaled(arguments.options), 1.0);
  const bool with_param = regularizes && (prepare.l1 != 0.f || prepare.l2 != 0.f);
  const Tables8 unused = {};  // gradients have no 8 bits
  StagedRun<0, kFloat32> run;
  run.load(place, arguments.formats, unused, Access::kGrad | (with_param ? Access::kParam : 0u));
  double sum = 0.0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (!place.has(i)) continue;
    const float g = with_param ? prepare.regularized(run.param[i], run.grad[i]) : prepare.scale * run.grad[i];
    sum += static_cast<double>(g) * static_cast<double>(g);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) pieces[blockIdx.x] = sum;
}

// A block for each sum.
__global__ void __launch_bounds__(kSumThreads)
    sum_pieces(const std::int64_t* first_piece, int count, const double* pieces, double* tensors) {
  const std::int64_t tensor = blockIdx.x / count, k = blockIdx.x % count;
  double sum = 0.0;
  for (std::int64_t i = first_piece[tensor] + threadIdx.x; i < first_piece[tensor + 1]; i += kSumThreads)
    sum += pieces[i * count + k];
  sum = block_sum(sum);
  if (threadIdx.x == 0) tensors[blockIdx.x] = sum;
}

struct Verdict {
  double common;
  float skip;
};

// total: where it is known already, else null. By one block.
__global__ void __launch_bounds__(kSumThreads)
    conclude(const double* sums, std::int64_t tensors, const double* total, float limit, bool skip_nonfinite,
             float* found_inf, Verdict* verdict) {
  double sum = 0.0;
  if (total != nullptr) {
    sum = *total;
  } else {
    for (std::int64_t i = threadIdx.x; i < tensors; i += kSumThreads) sum += sums[i];
    sum = block_sum(sum);
  }
  if (threadIdx.x != 0) return;
  const bool given = found_inf != nullptr && *found_inf != 0.f;
  const bool found = !given && skip_nonfinite && !(sum < INFINITY);
  if (found && found_inf != nullptr) *found_inf = 1.f;
  verdict->skip = given || found ? 1.f : 0.f;
  verdict->common = limit > 0.f ? clip_factor(sum, limit) : 1.0;
}

__global__ void __launch_bounds__(kSumThreads) add_total(const double* sums, std::int64_t tensors, double* square) {
  double sum = 0.0;
  for (std::int64_t i = threadIdx.x; i < tensors; i += kSumThreads) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *square += sum;
}

// Leaves the sum of each tensor in `sums`.
void enqueue_squares(const cpu::TensorList& list, const cpu::StepOptions& options, const DeviceNumbers& numbers,
                     bool regularizes, const float* skip, double* pieces, double* sums, cudaStream_t stream) {
  const DeviceTensors& device = *list.device;
  const SurveyArguments arguments{device, list.formats, options, numbers};
  if (device.piece_count > 0) {
    const auto kernel = list.formats.all_float32() ? &sum_squares<true> : &sum_squares<false>;
    FNN_CUDA_CHECK(launch(kernel, piece_grid(device), kPieceThreads, 0, stream, arguments, regularizes, skip, pieces));
  }
  add_pieces(device, 1, pieces, sums, stream);
}

std::size_t sums_bytes(const DeviceTensors& list) {
  return static_cast<std::size_t>(list.piece_count + list.tensor_count) * sizeof(double);
}

}  // namespace

void add_pieces(const DeviceTensors& list, int count, const double* pieces, double* tensors, cudaStream_t stream) {
  if (list.tensor_count == 0) return;
  const auto blocks = static_cast<unsigned>(list.tensor_count * count);
  FNN_CUDA_CHECK(launch(sum_pieces, blocks, kSumThreads, 0, stream, list.first_piece, count, pieces, tensors));
}

GradientSurvey::GradientSurvey(const cpu::TensorList& list, const cpu::StepOptions& options,
                               const DeviceNumbers& numbers, float* found_inf, const double* square,
                               cudaStream_t stream) {
  const bool clips = options.clip_norm > 0.f, per_tensor = clips && options.clip_norm_per_tensor;
  result_.skip = found_inf;
  if (!clips && !options.skip_nonfinite) return;
  const DeviceTensors& device = *list.device;
  memory_.emplace(sizeof(Verdict) + sums_bytes(device), stream);
  auto* const verdict = memory_->as<Verdict>();
  auto* const sums = reinterpret_cast<double*>(verdict + 1);
  if (square == nullptr || per_tensor)
    enqueue_squares(list, options, numbers, clips, found_inf, sums + device.tensor_count, sums, stream);
  const float limit = per_tensor ? 0.f : options.clip_norm;
  FNN_CUDA_CHECK(launch(conclude, 1, kSumThreads, 0, stream, sums, device.tensor_count, square, limit,
                        options.skip_nonfinite, found_inf, verdict));
  result_ = {per_tensor ? sums : nullptr, &verdict->common, &verdict->skip, options.clip_norm};
}

template <>
void run(const cpu::AddSquares& kernel, cudaStream_t stream) {
  const DeviceTensors& device = *kernel.list.device;
  const Workspace memory(sums_bytes(device), stream);
  auto* const sums = memory.as<double>();
  DeviceNumbers numbers = {};
  numbers.loss_scale = kernel.loss_scale;
  enqueue_squares(kernel.list, kernel.options, numbers, true, nullptr, sums + device.tensor_count, sums, stream);
  FNN_CUDA_CHECK(launch(add_total, 1, kSumThreads, 0, stream, sums, device.tensor_count, kernel.square));
}

}  // namespace fnn::cuda
