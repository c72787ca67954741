// The losses: values and gradients.
#include <cmath>

#include "bindings/label_argument.h"
#include "bindings/launch.h"
#include "cpu/loss.h"

namespace fnn::bindings {
namespace {

using py::handle;

// Names of a loss and of its two arguments, which depend on what it is a loss of.
struct Names {
  const char *function, *pred, *gradient;
};

// What all losses take: pred[n, f], weights[n] or None, the gradient like pred (or pred itself) or None, loss[1],
// scale.
struct Call : Border {
  Array<const float> pred;
  cpu::LossArguments arguments = {};

  Call(const Names& names, handle prediction, handle weights, handle gradient, handle loss, double scale)
      : Border(names.function) {
    pred = in<float>(names.pred, prediction, {kAny, kAny});
    arguments.pred = pred.ptr();
    arguments.rows = pred.shape[0];
    arguments.cols = pred.shape[1];
    if (pred.shape[1] == 0) fail(names.pred, "an array with at least one column", "none");
    if (!weights.is_none()) arguments.weights = in<float>("weights", weights, {pred.shape[0]}).ptr();
    if (!gradient.is_none()) arguments.gradient = out_like_or_in_place<float>(names.gradient, gradient, pred).ptr();
    arguments.loss = out<double>("loss", loss, {1}).ptr();
    arguments.scale = scale;
  }
  const float* targets(handle array) { return in_like<float>("targets", array, pred).ptr(); }
  float smoothing(double value) const {
    if (!(value >= 0 && value < 1)) fail("label_smoothing", "at least 0 and below 1", std::to_string(value));
    return static_cast<float>(value);
  }
};

void sparse_softmax_cross_entropy(handle logits, handle labels, handle weights, handle dlogits, handle loss,
                                  double scale) {
  Call call({"sparse_softmax_cross_entropy", "logits", "dlogits"}, logits, weights, dlogits, loss, scale);
  const std::int32_t* label = label_argument(call, labels, call.pred);
  call.done();
  launch(cpu::SparseSoftmaxCrossEntropy(call.arguments, label));
}

void softmax_cross_entropy(handle logits, handle targets, handle weights, handle dlogits, handle loss, double scale,
                           double label_smoothing) {
  Call call({"softmax_cross_entropy", "logits", "dlogits"}, logits, weights, dlogits, loss, scale);
  const float* target = call.targets(targets);
  call.done();
  launch(cpu::SoftmaxCrossEntropy(call.arguments, target, call.smoothing(label_smoothing)));
}

void sparse_cross_entropy(handle probs, handle labels, handle weights, handle dprobs, handle loss, double scale) {
  Call call({"sparse_cross_entropy", "probs", "dprobs"}, probs, weights, dprobs, loss, scale);
  const std::int32_t* label = label_argument(call, labels, call.pred);
  call.done();
  launch(cpu::SparseCrossEntropy(call.arguments, label));
}

void cross_entropy(handle probs, handle targets, handle weights, handle dprobs, handle loss, double scale,
                   double label_smoothing) {
  Call call({"cross_entropy", "probs", "dprobs"}, probs, weights, dprobs, loss, scale);
  const float* target = call.targets(targets);
  call.done();
  launch(cpu::CrossEntropy(call.arguments, target, call.smoothing(label_smoothing)));
}

template <class Term>
void mean_loss(const Names& names, Term term, handle pred, handle targets, handle weights, handle gradient, handle loss,
               double scale) {
  Call call(names, pred, weights, gradient, loss, scale);
  const float* target = call.targets(targets);
  call.done();
  launch(cpu::MeanLoss<Term>(call.arguments, target, term));
}

float checked_smoothing(const char* function, double value) {
  if (value >= 0 && value < 1) return static_cast<float>(value);
  fail(function, "label_smoothing", "at least 0 and below 1", std::to_string(value));
}

void sigmoid_cross_entropy(handle logits, handle targets, handle weights, handle dlogits, handle loss, double scale,
                           double label_smoothing) {
  const Names names = {"sigmoid_cross_entropy", "logits", "dlogits"};
  const SigmoidCrossEntropy term{checked_smoothing(names.function, label_smoothing)};
  mean_loss(names, term, logits, targets, weights, dlogits, loss, scale);
}

void binary_cross_entropy(handle probs, handle targets, handle weights, handle dprobs, handle loss, double scale,
                          double label_smoothing) {
  const Names names = {"binary_cross_entropy", "probs", "dprobs"};
  const BinaryCrossEntropy term{checked_smoothing(names.function, label_smoothing)};
  mean_loss(names, term, probs, targets, weights, dprobs, loss, scale);
}

void mean_squared_error(handle pred, handle targets, handle weights, handle dpred, handle loss, double scale) {
  mean_loss({"mean_squared_error", "pred", "dpred"}, SquaredError{}, pred, targets, weights, dpred, loss, scale);
}

void mean_absolute_error(handle pred, handle targets, handle weights, handle dpred, handle loss, double scale) {
  mean_loss({"mean_absolute_error", "pred", "dpred"}, AbsoluteError{}, pred, targets, weights, dpred, loss, scale);
}

void huber(handle pred, handle targets, handle weights, handle dpred, handle loss, double scale, double delta) {
  if (!(delta > 0 && std::isfinite(delta))) fail("huber", "delta", "finite and above 0", std::to_string(delta));
  const HuberError term{static_cast<float>(delta)};
  mean_loss({"huber", "pred", "dpred"}, term, pred, targets, weights, dpred, loss, scale);
}

}  // namespace

void bind_losses(py::module_& module) {
  using py::arg;
  module.def("sparse_softmax_cross_entropy", &sparse_softmax_cross_entropy, arg("logits"), arg("labels"),
             arg("weights"), arg("dlogits"), arg("loss"), arg("scale"));
  module.def("softmax_cross_entropy", &softmax_cross_entropy, arg("logits"), arg("targets"), arg("weights"),
             arg("dlogits"), arg("loss"), arg("scale"), arg("label_smoothing") = 0.0);
  module.def("sparse_cross_entropy", &sparse_cross_entropy, arg("probs"), arg("labels"), arg("weights"), arg("dprobs"),
             arg("loss"), arg("scale"));
  module.def("cross_entropy", &cross_entropy, arg("probs"), arg("targets"), arg("weights"), arg("dprobs"), arg("loss"),
             arg("scale"), arg("label_smoothing") = 0.0);
  module.def("sigmoid_cross_entropy", &sigmoid_cross_entropy, arg("logits"), arg("targets"), arg("weights"),
             arg("dlogits"), arg("loss"), arg("scale"), arg("label_smoothing") = 0.0);
  module.def("binary_cross_entropy", &binary_cross_entropy, arg("probs"), arg("targets"), arg("weights"), arg("dprobs"),
             arg("loss"), arg("scale"), arg("label_smoothing") = 0.0);
  module.def("mean_squared_error", &mean_squared_error, arg("pred"), arg("targets"), arg("weights"), arg("dpred"),
             arg("loss"), arg("scale"));
  module.def("mean_absolute_error", &mean_absolute_error, arg("pred"), arg("targets"), arg("weights"), arg("dpred"),
             arg("loss"), arg("scale"));
  module.def("huber", &huber, arg("pred"), arg("targets"), arg("weights"), arg("dpred"), arg("loss"), arg("scale"),
             arg("delta") = 1.0);
}

}  // namespace fnn::bindings
