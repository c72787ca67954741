#include "cpu/muon.h"

#include <algorithm>
#include <cmath>

#include "cpu/gemm.h"
#include "cpu/gradient_survey.h"
#include "cpu/lanes.h"

namespace fnn::cpu {
namespace {

// A matrix and the room that orthogonalising it takes.
struct Matrix {
  std::int64_t rows, columns, side;  // side: of X X^T, or of X^T X where that is smaller

  explicit Matrix(const OptimizerTensor& tensor)
      : rows(tensor.rows), columns(tensor.count / tensor.rows), side(std::min(rows, columns)) {}

  std::int64_t count() const { return rows * columns; }
  std::int64_t floats() const { return 2 * padded(count()) + 2 * padded(side * side); }
  std::int64_t cost(std::int64_t ns_steps) const { return ns_steps * (2 * count() + side * side) * (side + 8) / 5; }
  // By one thread: a step takes less time than a few meetings of all of them.
  bool small(std::int64_t ns_steps) const { return cost(ns_steps) < 16 * kGrain; }
  static std::int64_t padded(std::int64_t floats) { return (floats + 15) / 16 * 16; }

  bool tall() const { return rows > columns; }
  // X X^T or X^T X.
  Gemm gram(const float* x, float* to) const {
    return {{}, side, side, std::max(rows, columns), x, columns, tall(), x, columns, !tall(), to, side, false, {}};
  }
  static Gemm square(const float* gram, float* to, std::int64_t side) {
    return {{}, side, side, side, gram, side, false, gram, side, false, to, side, false, {}};
  }
  // X times the polynomial, from the side on which it is the smaller one.
  Gemm product(const float* x, const float* polynomial, float* to) const {
    if (tall()) return {{}, rows, columns, side, x, columns, false, polynomial, side, false, to, columns, false, {}};
    return {{}, rows, columns, side, polynomial, side, false, x, columns, false, to, columns, false, {}};
  }
  std::size_t gemm_scratch() const {
    std::size_t bytes = 0;
    for (const Gemm& gemm :
         {gram(nullptr, nullptr), square(nullptr, nullptr, side), product(nullptr, nullptr, nullptr)})
      bytes = std::max(bytes, gemm.scratch(1).per_thread);
    return bytes;
  }
};

// One matrix's step by the workers of a team, all of whom have the same room.
class MatrixStep {
 public:
  MatrixStep(const MuonStep& step, const OptimizerTensor& tensor, double factor, const Worker& worker, double* sums,
             float* room)
      : step_(step),
        tensor_(tensor),
        matrix_(tensor),
        prepare_(tensor, step.options, factor),
        worker_(worker),
        mine_(share(tensor.count, worker.rank, worker.size, kChunk)),
        sums_(sums),
        x_(room),
        next_(x_ + Matrix::padded(matrix_.count())),
        gram_(next_ + Matrix::padded(matrix_.count())),
        polynomial_(gram_ + Matrix::padded(matrix_.side * matrix_.side)) {}

  void run() {
    sums_[worker_.rank] = take_direction();
    worker_.barrier();
    double square = 0;
    for (int rank = 0; rank < worker_.size; ++rank) square += sums_[rank];
    const Vec scale(static_cast<float>(step_.rule.scale(std::sqrt(square))));
    for_lanes(mine_.begin, mine_.end,
              [&](std::int64_t i, auto lanes) { store(x_ + i, scale * load(x_ + i, lanes), lanes); });
    worker_.barrier();
    for (std::int64_t i = 0; i < step_.rule.ns_steps; ++i) iterate();
    update();
    worker_.barrier();  // before the room is used for another one
  }

 private:
  // Moves the momentum on and leaves the direction in x; returns the sum of its squares.
  double take_direction() {
    const bool regularizes = !prepare_.only_scales();
    const Access access = {Access::kGrad | Access::slots(1) | (regularizes ? Access::kParam : 0), Access::slots(1),
                           *step_.t};
    const MuonRule::Step numbers = step_.rule.at(*step_.t);
    DoubleSum squares;
    float* x = x_ + mine_.begin;
    visit_elements(step_.list, tensor_, mine_.begin, mine_.end, access,
                   [&](const OptimizerTensor& view, const float* grad, std::int64_t first, std::int64_t count) {
                     float* state = view.slots[0] + first;
                     for_lanes(0, count, [&](std::int64_t i, auto lanes) {
                       const Vec p = regularizes ? load(view.param + first + i, lanes) : Vec(0.f);
                       const Vec g = prepare_(p, load(grad + i, lanes));
                       Vec slot = load(state + i, lanes);
                       const Vec u = numbers.direction(g, &slot);
                       squares.add_square(u);
                       store(state + i, slot, lanes);
                       store(x + i, u, lanes);
                     });
                     x += count;
                   });
    return squares.total();
  }

  // X <- (a I + b G + c G^2) X with G = X X^T, or from the other side.
  void iterate() {
    float* scratch = worker_.scratch<float>();
    matrix_.gram(x_, gram_)(worker_);
    worker_.barrier();
    const std::int64_t side = matrix_.side;
    const Range rows = share(side, worker_.rank, worker_.size, 4);
    Matrix::square(gram_, polynomial_, side).multiply(rows, {0, side}, scratch);
    const Vec b(static_cast<float>(step_.rule.b)), c(static_cast<float>(step_.rule.c));
    for_lanes(rows.begin * side, rows.end * side, [&](std::int64_t i, auto lanes) {
      store(polynomial_ + i, b * load(gram_ + i, lanes) + c * load(polynomial_ + i, lanes), lanes);
    });
    for (std::int64_t i = rows.begin; i < rows.end; ++i) polynomial_[i * side + i] += static_cast<float>(step_.rule.a);
    worker_.barrier();
    matrix_.product(x_, polynomial_, next_)(worker_);
    std::swap(x_, next_);
    worker_.barrier();
  }

  void update() {
    const Vec rate(static_cast<float>(*step_.lr * tensor_.lr_scale)), whole(tensor_.update == nullptr ? 1.f : 0.f);
    const Vec decay(step_.options.decay_of(tensor_, *step_.lr));
    const float* x = x_ + mine_.begin;
    visit_elements(step_.list, tensor_, mine_.begin, mine_.end, {Access::kParam, Access::kParam, *step_.t},
                   [&](const OptimizerTensor& view, const float* /*grad*/, std::int64_t first, std::int64_t count) {
                     const float* param = view.param + first;
                     float* result = (view.update != nullptr ? view.update : view.param) + first;
                     for_lanes(0, count, [&](std::int64_t i, auto lanes) {
                       const Vec p = load(param + i, lanes), base = whole * p - decay * p;
                       store(result + i, base - rate * load(x + i, lanes), lanes);
                     });
                     x += count;
                   });
  }

  const MuonStep& step_;
  const OptimizerTensor& tensor_;
  const Matrix matrix_;
  const Preparation prepare_;
  const Worker worker_;
  const Range mine_;
  double* sums_;
  float *x_, *next_, *gram_, *polynomial_;
};

// What of the scratch goes where: shared by all for large matrices, and for small ones behind what Gemm needs.
struct Plan {
  std::size_t survey, sums, common = 0, gemm = 0, own = 0;
  std::int64_t small_cost = 0;

  Plan(const MuonStep& step, int threads)
      : survey((GradientSurvey::bytes(step.list, step.options, threads) + 63) / 64 * 64),
        sums((static_cast<std::size_t>(threads) * sizeof(double) + 63) / 64 * 64) {
    for (std::int64_t i = 0; i < step.list.tensor_count; ++i) {
      if (step.list.tensors[i].count == 0) continue;
      const Matrix matrix(step.list.tensors[i]);
      const bool small = matrix.small(step.rule.ns_steps);
      if (small) small_cost += matrix.cost(step.rule.ns_steps) + matrix.count();
      std::size_t& room = small ? own : common;
      room = std::max(room, static_cast<std::size_t>(matrix.floats()) * sizeof(float));
      gemm = std::max(gemm, (matrix.gemm_scratch() + 63) / 64 * 64);
    }
  }
};

}  // namespace

Scratch MuonStep::scratch(int threads) const {
  const Plan plan(*this, threads);
  return {plan.survey + plan.sums + plan.common, plan.gemm + plan.own};
}

std::int64_t MuonStep::work() const {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < list.tensor_count; ++i) {
    if (list.tensors[i].count > 0) sum += 5 * list.tensors[i].count + Matrix(list.tensors[i]).cost(rule.ns_steps);
  }
  return sum;
}

void MuonStep::operator()(const Worker& worker) const {
  const GradientSurvey survey(*this, worker);
  if (survey.skips()) return;
  const Plan plan(*this, worker.size);
  std::byte* const shared = worker.shared<std::byte>() + plan.survey;
  std::byte* const own = worker.scratch<std::byte>() + plan.gemm;
  std::int64_t small_cost = 0;
  for (std::int64_t i = 0; i < list.tensor_count; ++i) {
    const OptimizerTensor& tensor = list.tensors[i];
    if (tensor.count == 0) continue;
    const Matrix matrix(tensor);
    if (!matrix.small(rule.ns_steps)) {
      double* sums = reinterpret_cast<double*>(shared);
      float* room = reinterpret_cast<float*>(shared + plan.sums);
      MatrixStep(*this, tensor, survey.factor(i), worker, sums, room).run();
      continue;
    }
    const bool mine = small_cost * worker.size / plan.small_cost == worker.rank;
    small_cost += matrix.cost(rule.ns_steps) + matrix.count();
    double sum = 0;
    if (mine) MatrixStep(*this, tensor, survey.factor(i), worker.alone(), &sum, reinterpret_cast<float*>(own)).run();
  }
}

}  // namespace fnn::cpu
