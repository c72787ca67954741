// A step of Muon on the GPU: the momentum of all matrices in one pass, then the Newton-Schulz iteration in float32,
// three launches for all matrices together, and the update. Matrices take turns where their room would be too large.
#include <algorithm>
#include <vector>

#include "cpu/muon.h"
#include "cuda/error.h"
#include "cuda/matrix_tile.cuh"
#include "cuda/step_numbers.cuh"

namespace fnn::cuda {
namespace {

constexpr std::int64_t kRoom = std::int64_t{1} << 28;  // floats that the matrices of a turn take, or one matrix alone

// A matrix and its room, in words of 8 bytes.
struct Matrix {
  std::int64_t rows, columns, side;        // side: of X X^T, or of X^T X where that is smaller
  float *x[2], *gram, *polynomial;         // x: before and after an iteration, in turns
  std::int64_t square_tiles, whole_tiles;  // of the matrices before

  __host__ __device__ bool tall() const { return rows > columns; }
};

struct MuonArguments {
  DeviceTensors list;
  cpu::Formats formats;
  cpu::StepOptions options;
  DeviceNumbers numbers;
  MuonRule rule;
  SurveyResult survey;
  const Matrix* matrices;                 // one a tensor
  double *pieces, *sums;                  // squares of directions
  std::int64_t first, last, first_piece;  // the tensors of this turn
  Tables8 tables;
};

// ---- passes over elements

template <bool kFloat32>
__global__ void __launch_bounds__(kPieceThreads) take_directions(const __grid_constant__ MuonArguments arguments) {
  if (arguments.survey.skips()) return;
  FNN_SHARED(Tables8, tables, [1]);
  FNN_SHARED(Preparation, shared_prepare, [1]);
  FNN_SHARED(MuonRule::Step, shared_step, [1]);
  const RunPlace place = find_run(arguments.list, arguments.first_piece + blockIdx.x);
  if (!kFloat32) copy_tables(arguments.tables, tables[0]);
  if (threadIdx.x == 0) {
    const cpu::StepOptions options = arguments.numbers.scaled(arguments.options);
    shared_prepare[0] = Preparation(*place.tensor, options, arguments.survey.factor(place.number));
    shared_step[0] = arguments.rule.at(arguments.numbers.t());
  }
  __syncthreads();
  double sum = 0.0;
  if (place.begin < place.tensor->count) {
    const Preparation prepare = shared_prepare[0];
    const MuonRule::Step step = shared_step[0];
    const bool only_scales = prepare.only_scales();
    StagedRun<1, kFloat32> run;
    run.load(place, arguments.formats, tables[0],
             Access::kGrad | Access::slots(1) | (only_scales ? 0u : Access::kParam));
    float* const x = arguments.matrices[place.number].x[0] + place.at;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const float p = only_scales ? 0.f : run.param[i];
      const float g = prepared(prepare, only_scales, prepare.scale * prepare.factor, p, run.grad[i]);
      const float u = step.direction(g, &run.slots[0][i]);
      if (!place.has(i)) continue;
      sum += static_cast<double>(u) * static_cast<double>(u);
      x[i / 4 * (kRun / 2) + i % 4] = u;
    }
    run.store(place, arguments.formats, tables[0], Access::slots(1), run.param, 0);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) arguments.pieces[arguments.first_piece + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kPieceThreads) scale_directions(const __grid_constant__ MuonArguments arguments) {
  if (arguments.survey.skips()) return;
  const RunPlace place = find_run(arguments.list, arguments.first_piece + blockIdx.x);
  const auto scale = static_cast<float>(arguments.rule.scale(::sqrt(arguments.sums[place.number])));
  float* const x = arguments.matrices[place.number].x[0] + place.at;
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    if (place.has(i)) x[i / 4 * (kRun / 2) + i % 4] *= scale;
}

template <bool kFloat32>
__global__ void __launch_bounds__(kPieceThreads)
    update_matrices(const __grid_constant__ MuonArguments arguments, int turn) {
  if (arguments.survey.skips()) return;
  const RunPlace place = find_run(arguments.list, arguments.first_piece + blockIdx.x);
  if (place.begin >= place.tensor->count) return;  // the whole warp
  const cpu::OptimizerTensor& tensor = *place.tensor;
  const double lr = arguments.numbers.lr();
  const auto rate = static_cast<float>(lr * tensor.lr_scale);
  const float decay = arguments.options.decay_of(tensor, lr), whole = tensor.update == nullptr ? 1.f : 0.f;
  const Tables8 unused = {};  // parameters have no 8 bits
  StagedRun<0, kFloat32> run;
  run.load(place, arguments.formats, unused, Access::kParam);
  const float* const x = arguments.matrices[place.number].x[turn] + place.at;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const float p = run.param[i], base = whole * p - decay * p;
    if (place.has(i)) run.param[i] = base - rate * x[i / 4 * (kRun / 2) + i % 4];
  }
  const std::int64_t t = arguments.formats.master == Master::stochastic ? arguments.numbers.t() : 0;
  run.store(place, arguments.formats, unused, Access::kParam, run.param, t);
}

// ---- the iteration: X <- (a I + b G + c G^2) X with G = X X^T, or from the other side

enum class Phase { gram, polynomial, product };

__device__ inline Product product_of(const Matrix& matrix, Phase phase, const MuonRule& rule, int turn) {
  const std::int64_t side = matrix.side, columns = matrix.columns;
  const StridedMatrix x{matrix.x[turn], columns, 1}, transposed{matrix.x[turn], 1, columns};
  const StridedMatrix gram{matrix.gram, side, 1}, polynomial{matrix.polynomial, side, 1};
  const bool tall = matrix.tall();
  const std::int64_t depth = tall ? matrix.rows : columns;
  if (phase == Phase::gram)
    return {side, side, depth, tall ? transposed : x, tall ? x : transposed, matrix.gram, nullptr, 1.f, 0.f, 0.f};
  if (phase == Phase::polynomial) {
    return {side,
            side,
            side,
            gram,
            gram,
            matrix.polynomial,
            matrix.gram,
            static_cast<float>(rule.c),
            static_cast<float>(rule.b),
            static_cast<float>(rule.a)};
  }
  float* const next = matrix.x[1 - turn];
  return {matrix.rows, columns, side, tall ? x : polynomial, tall ? polynomial : x, next, nullptr, 1.f, 0.f, 0.f};
}

__global__ void __launch_bounds__(kTileThreads)
    multiply_matrices(const __grid_constant__ MuonArguments arguments, Phase phase, int turn) {
  if (arguments.survey.skips()) return;
  const auto before = [&](std::int64_t i) {
    const Matrix& matrix = arguments.matrices[i];
    return phase == Phase::product ? matrix.whole_tiles : matrix.square_tiles;
  };
  const std::int64_t tile = blockIdx.x;
  std::int64_t low = arguments.first, high = arguments.last;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (before(middle) <= tile ? low : high) = middle;
  }
  multiply_tile(product_of(arguments.matrices[low], phase, arguments.rule, turn), tile - before(low));
}

// ---- on the host

// Tensors [first, last) that are worked on together.
struct Turn {
  std::int64_t first, last, first_piece, pieces, floats, square_tiles, whole_tiles;
};

constexpr std::int64_t padded(std::int64_t floats) { return (floats + 63) / 64 * 64; }

// The matrices with places relative to null, turn by turn.
std::vector<Matrix> plan(const cpu::TensorList& list, std::vector<Turn>* turns) {
  std::vector<Matrix> matrices;
  std::int64_t pieces = 0;
  for (std::int64_t i = 0; i < list.tensor_count; ++i) {
    const cpu::OptimizerTensor& tensor = list.tensors[i];
    const std::int64_t rows = tensor.count > 0 ? tensor.rows : 0, columns = rows > 0 ? tensor.count / rows : 0;
    const std::int64_t side = std::min(rows, columns);
    const std::int64_t floats = 2 * padded(tensor.count) + 2 * padded(side * side);
    if (turns->empty() || (turns->back().floats > 0 && turns->back().floats + floats > kRoom))
      turns->push_back({i, i, pieces, 0, 0, 0, 0});
    Turn& turn = turns->back();
    const auto place = [&](std::int64_t before) {
      return reinterpret_cast<float*>(
          static_cast<std::uintptr_t>((turn.floats + before) * std::int64_t{sizeof(float)}));
    };
    const std::int64_t whole = padded(tensor.count);
    matrices.push_back({rows,
                        columns,
                        side,
                        {place(0), place(whole)},
                        place(2 * whole),
                        place(2 * whole + padded(side * side)),
                        turn.square_tiles,
                        turn.whole_tiles});
    turn.floats += floats;
    turn.square_tiles += Product::tiles(side, side);
    turn.whole_tiles += Product::tiles(rows, columns);
    turn.pieces += (tensor.count + kPiece - 1) / kPiece;
    turn.last = i + 1;
    pieces += (tensor.count + kPiece - 1) / kPiece;
  }
  return matrices;
}

void run_turn(const MuonArguments& arguments, const Turn& turn, cudaStream_t stream) {
  const bool all_float32 = arguments.formats.all_float32();
  const auto pieces = static_cast<unsigned>(turn.pieces);
  const auto take = all_float32 ? &take_directions<true> : &take_directions<false>;
  FNN_CUDA_CHECK(launch(take, pieces, kPieceThreads, 0, stream, arguments));
  DeviceTensors part = arguments.list;
  part.first_piece += turn.first;
  part.tensor_count = turn.last - turn.first;
  add_pieces(part, 1, arguments.pieces, arguments.sums + turn.first, stream);
  FNN_CUDA_CHECK(launch(scale_directions, pieces, kPieceThreads, 0, stream, arguments));
  int at = 0;
  const auto square = static_cast<unsigned>(turn.square_tiles), whole = static_cast<unsigned>(turn.whole_tiles);
  for (std::int64_t i = 0; i < arguments.rule.ns_steps; ++i, at = 1 - at) {
    FNN_CUDA_CHECK(launch(multiply_matrices, square, kTileThreads, 0, stream, arguments, Phase::gram, at));
    FNN_CUDA_CHECK(launch(multiply_matrices, square, kTileThreads, 0, stream, arguments, Phase::polynomial, at));
    FNN_CUDA_CHECK(launch(multiply_matrices, whole, kTileThreads, 0, stream, arguments, Phase::product, at));
  }
  const auto update = all_float32 ? &update_matrices<true> : &update_matrices<false>;
  FNN_CUDA_CHECK(launch(update, pieces, kPieceThreads, 0, stream, arguments, at));
}

}  // namespace

template <>
void run(const cpu::MuonStep& step, cudaStream_t stream) {
  const cpu::TensorList& list = step.list;
  const DeviceTensors& device = *list.device;
  const DeviceNumbers numbers = device_numbers(step);
  const GradientSurvey survey(step, numbers, stream);
  std::vector<Turn> turns;
  std::vector<Matrix> matrices = plan(list, &turns);
  std::int64_t room = 0;
  for (const Turn& turn : turns) room = std::max(room, turn.floats);
  if (room == 0) return;
  const Workspace floats(static_cast<std::size_t>(room) * sizeof(float), stream);
  const auto base = reinterpret_cast<std::uintptr_t>(floats.as<float>());
  for (Matrix& matrix : matrices)
    for (float** place : {&matrix.x[0], &matrix.x[1], &matrix.gram, &matrix.polynomial})
      *place = reinterpret_cast<float*>(reinterpret_cast<std::uintptr_t>(*place) + base);
  const std::size_t table = matrices.size() * sizeof(Matrix);
  const auto sums = static_cast<std::size_t>(device.piece_count + device.tensor_count);
  const Workspace memory(table + sums * sizeof(double), stream);
  put_words(stream, reinterpret_cast<const std::uint64_t*>(matrices.data()),
            static_cast<std::int64_t>(table / sizeof(std::uint64_t)), memory.as<void>());
  MuonArguments arguments{
      device, list.formats, step.options, numbers, step.rule, survey.result(), nullptr, nullptr, nullptr, 0, 0, 0, {}};
  arguments.matrices = memory.as<Matrix>();
  arguments.sums = reinterpret_cast<double*>(memory.as<char>() + table);
  arguments.pieces = arguments.sums + device.tensor_count;
  if (!list.formats.all_float32()) arguments.tables = tables8();
  for (const Turn& turn : turns) {
    if (turn.pieces == 0) continue;
    arguments.first = turn.first, arguments.last = turn.last, arguments.first_piece = turn.first_piece;
    run_turn(arguments, turn, stream);
  }
}

}  // namespace fnn::cuda
