// The metrics: sums over a batch.
#include "bindings/label_argument.h"
#include "bindings/launch.h"
#include "cpu/loss.h"
#include "cpu/metrics.h"

namespace fnn::bindings {
namespace {

using py::handle;

// What all metrics take: pred[n, f], weights[n] or None.
struct MetricCall : Border {
  Array<const float> pred;
  const float* weights = nullptr;

  MetricCall(const char* function, handle prediction, handle weight) : Border(function) {
    pred = in<float>("pred", prediction, {kAny, kAny});
    if (pred.shape[1] == 0) fail("pred", "an array with at least one column", "none");
    if (!weight.is_none()) weights = in<float>("weights", weight, {pred.shape[0]}).ptr();
  }
  const float* targets(handle array) { return in_like<float>("targets", array, pred).ptr(); }
  // The last array: the state, float64[2].
  cpu::MetricKernel with_state(handle state) {
    double* sums = out<double>("state", state, {2}).ptr();
    done();
    return {pred.ptr(), weights, sums, pred.shape[0], pred.shape[1]};
  }
};

void sparse_categorical_matches(handle pred, handle labels, handle weights, handle state) {
  MetricCall call("sparse_categorical_matches", pred, weights);
  const std::int32_t* label = label_argument(call, labels, call.pred);
  launch(cpu::SparseCategoricalMatches(call.with_state(state), label));
}

void categorical_matches(handle pred, handle targets, handle weights, handle state) {
  MetricCall call("categorical_matches", pred, weights);
  const float* target = call.targets(targets);
  launch(cpu::CategoricalMatches(call.with_state(state), target));
}

void top_k_matches(handle pred, handle labels, handle weights, std::int64_t k, handle state) {
  MetricCall call("top_k_matches", pred, weights);
  if (k < 1) call.fail("k", "at least 1", std::to_string(k));
  const std::int32_t* label = label_argument(call, labels, call.pred);
  launch(cpu::TopKMatches(call.with_state(state), label, k));
}

void binary_matches(handle pred, handle targets, handle weights, float threshold, handle state) {
  MetricCall call("binary_matches", pred, weights);
  const float* target = call.targets(targets);
  launch(cpu::BinaryMatches(call.with_state(state), target, threshold));
}

template <class Term>
void error_sum(const char* function, handle pred, handle targets, handle weights, handle state) {
  MetricCall call(function, pred, weights);
  const float* target = call.targets(targets);
  const cpu::MetricKernel sums = call.with_state(state);
  cpu::LossArguments arguments = {};
  arguments.pred = sums.pred;
  arguments.weights = sums.weights;
  arguments.loss = sums.state;
  arguments.weight_total = sums.state + 1;
  arguments.rows = sums.rows;
  arguments.cols = sums.cols;
  arguments.scale = 1.0;
  launch(cpu::MeanLoss<Term>(arguments, target, Term{}));
}

void absolute_error(handle pred, handle targets, handle weights, handle state) {
  error_sum<AbsoluteError>("absolute_error", pred, targets, weights, state);
}

void squared_error(handle pred, handle targets, handle weights, handle state) {
  error_sum<SquaredError>("squared_error", pred, targets, weights, state);
}

void confusion_counts(handle pred, handle targets, handle weights, handle thresholds, handle counts, std::int64_t first,
                      std::int64_t step) {
  MetricCall call("confusion_counts", pred, weights);
  if (step < 1) call.fail("step", "at least 1", std::to_string(step));
  if (first < 0 || first >= step) call.fail("first", "from 0 to step - 1", std::to_string(first));
  const float* target = call.targets(targets);
  const auto steps = call.in<float>("thresholds", thresholds, {kAny});
  for (std::int64_t i = 1; kOnHost && i < steps.shape[0]; ++i) {
    if (steps.ptr()[i] > steps.ptr()[i - 1]) continue;
    call.fail("thresholds", "ascending",
              std::to_string(steps.ptr()[i]) + " after " + std::to_string(steps.ptr()[i - 1]));
  }
  const auto sums = call.out<double>("counts", counts, {4, steps.shape[0]});
  call.done();
  launch(cpu::ConfusionCounts{{},
                              call.pred.ptr(),
                              target,
                              call.weights,
                              steps.ptr(),
                              sums.ptr(),
                              call.pred.shape[0],
                              call.pred.shape[1],
                              steps.shape[0],
                              first,
                              step});
}

}  // namespace

void bind_metrics(py::module_& module) {
  using py::arg;
  module.def("sparse_categorical_matches", &sparse_categorical_matches, arg("pred"), arg("labels"), arg("weights"),
             arg("state"));
  module.def("categorical_matches", &categorical_matches, arg("pred"), arg("targets"), arg("weights"), arg("state"));
  module.def("top_k_matches", &top_k_matches, arg("pred"), arg("labels"), arg("weights"), arg("k"), arg("state"));
  module.def("binary_matches", &binary_matches, arg("pred"), arg("targets"), arg("weights"), arg("threshold"),
             arg("state"));
  module.def("absolute_error", &absolute_error, arg("pred"), arg("targets"), arg("weights"), arg("state"));
  module.def("squared_error", &squared_error, arg("pred"), arg("targets"), arg("weights"), arg("state"));
  module.def("confusion_counts", &confusion_counts, arg("pred"), arg("targets"), arg("weights"), arg("thresholds"),
             arg("counts"), arg("first") = 0, arg("step") = 1);
}

}  // namespace fnn::bindings
