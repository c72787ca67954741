// batch_norm_forward, batch_norm_inference, batch_norm_backward, layer_norm_forward, layer_norm_backward
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "cpu/batch_norm.h"
#include "cpu/layer_norm.h"

namespace fnn::bindings {
namespace {

void check_eps(const Border& border, double eps) {
  if (!(eps >= 0 && eps < INFINITY)) border.fail("eps", "finite and at least 0", std::to_string(eps));
}

void batch_norm_forward(py::handle x, py::handle gamma, py::handle beta, py::handle y, py::handle mean,
                        py::handle inv_std, py::handle moving_mean, py::handle moving_variance, double momentum,
                        double eps) {
  Border border("batch_norm_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const std::int64_t rows = input.shape[0], channels = input.shape[1];
  const auto scale = optional_in<float>(border, "gamma", gamma, {channels});
  const auto offset = optional_in<float>(border, "beta", beta, {channels});
  const auto output = border.out<float>("y", y, {rows, channels});
  const auto center = border.out<float>("mean", mean, {channels});
  const auto inverse = border.out<float>("inv_std", inv_std, {channels});
  const auto average = border.out<float>("moving_mean", moving_mean, {channels});
  const auto variance = border.out<float>("moving_variance", moving_variance, {channels});
  border.done();
  check_eps(border, eps);
  if (!(momentum >= 0 && momentum <= 1)) border.fail("momentum", "between 0 and 1", std::to_string(momentum));
  launch(cpu::BatchNormForward{{},
                               input.ptr(),
                               scale.ptr(),
                               offset.ptr(),
                               output.ptr(),
                               center.ptr(),
                               inverse.ptr(),
                               average.ptr(),
                               variance.ptr(),
                               rows,
                               channels,
                               momentum,
                               eps});
}

void batch_norm_inference(py::handle x, py::handle gamma, py::handle beta, py::handle mean, py::handle variance,
                          py::handle y, double eps) {
  Border border("batch_norm_inference");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const std::int64_t rows = input.shape[0], channels = input.shape[1];
  const auto scale = optional_in<float>(border, "gamma", gamma, {channels});
  const auto offset = optional_in<float>(border, "beta", beta, {channels});
  const auto center = optional_in<float>(border, "mean", mean, {channels});
  const auto spread = border.in<float>("variance", variance, {channels});
  const auto output = border.out_or_in_place<float>("y", y, {rows, channels});
  border.done();
  check_eps(border, eps);
  launch(cpu::BatchNormInference{
      {}, input.ptr(), scale.ptr(), offset.ptr(), center.ptr(), spread.ptr(), output.ptr(), rows, channels, eps});
}

// The backward kernels differ only in what mean and inv_std belong to: axis 0 (rows) or 1 (channels) of x.
template <class K>
void norm_backward(const char* function, int axis, py::handle x, py::handle gamma, py::handle mean, py::handle inv_std,
                   py::handle dy, py::handle dgamma, py::handle dbeta, py::handle dx, bool accumulate) {
  Border border(function);
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const std::int64_t rows = input.shape[0], columns = input.shape[1];
  const auto scale = optional_in<float>(border, "gamma", gamma, {columns});
  const auto center = border.in<float>("mean", mean, {input.shape[axis]});
  const auto inverse = border.in<float>("inv_std", inv_std, {input.shape[axis]});
  const auto grad = border.in<float>("dy", dy, {rows, columns});
  const auto grad_gamma = optional_out<float>(border, "dgamma", dgamma, {columns});
  const auto grad_beta = optional_out<float>(border, "dbeta", dbeta, {columns});
  const auto grad_x = dx.is_none() ? Array<float>{} : border.out_or_in_place<float>("dx", dx, {rows, columns});
  border.done();
  launch(K{{},
           input.ptr(),
           scale.ptr(),
           center.ptr(),
           inverse.ptr(),
           grad.ptr(),
           grad_gamma.ptr(),
           grad_beta.ptr(),
           grad_x.ptr(),
           rows,
           columns,
           accumulate});
}

void batch_norm_backward(py::handle x, py::handle gamma, py::handle mean, py::handle inv_std, py::handle dy,
                         py::handle dgamma, py::handle dbeta, py::handle dx, bool accumulate) {
  norm_backward<cpu::BatchNormBackward>("batch_norm_backward", 1, x, gamma, mean, inv_std, dy, dgamma, dbeta, dx,
                                        accumulate);
}

void layer_norm_backward(py::handle x, py::handle gamma, py::handle mean, py::handle inv_std, py::handle dy,
                         py::handle dgamma, py::handle dbeta, py::handle dx, bool accumulate) {
  norm_backward<cpu::LayerNormBackward>("layer_norm_backward", 0, x, gamma, mean, inv_std, dy, dgamma, dbeta, dx,
                                        accumulate);
}

void layer_norm_forward(py::handle x, py::handle gamma, py::handle beta, py::handle y, py::handle mean,
                        py::handle inv_std, double eps) {
  Border border("layer_norm_forward");
  const auto input = border.in<float>("x", x, {kAny, kAny});
  const std::int64_t rows = input.shape[0], features = input.shape[1];
  const auto scale = optional_in<float>(border, "gamma", gamma, {features});
  const auto offset = optional_in<float>(border, "beta", beta, {features});
  const auto output = border.out<float>("y", y, {rows, features});
  const auto center = optional_out<float>(border, "mean", mean, {rows});
  const auto inverse = optional_out<float>(border, "inv_std", inv_std, {rows});
  border.done();
  check_eps(border, eps);
  launch(cpu::LayerNormForward{
      {}, input.ptr(), scale.ptr(), offset.ptr(), output.ptr(), center.ptr(), inverse.ptr(), rows, features, eps});
}

}  // namespace

void bind_norm(py::module_& module) {
  using namespace py::literals;
  module.def("batch_norm_forward", &batch_norm_forward, "x"_a, "gamma"_a, "beta"_a, "y"_a, "mean"_a, "inv_std"_a,
             "moving_mean"_a, "moving_variance"_a, "momentum"_a, "eps"_a);
  module.def("batch_norm_inference", &batch_norm_inference, "x"_a, "gamma"_a, "beta"_a, "mean"_a, "variance"_a, "y"_a,
             "eps"_a);
  module.def("batch_norm_backward", &batch_norm_backward, "x"_a, "gamma"_a, "mean"_a, "inv_std"_a, "dy"_a, "dgamma"_a,
             "dbeta"_a, "dx"_a, "accumulate"_a);
  module.def("layer_norm_forward", &layer_norm_forward, "x"_a, "gamma"_a, "beta"_a, "y"_a, "mean"_a, "inv_std"_a,
             "eps"_a);
  module.def("layer_norm_backward", &layer_norm_backward, "x"_a, "gamma"_a, "mean"_a, "inv_std"_a, "dy"_a, "dgamma"_a,
             "dbeta"_a, "dx"_a, "accumulate"_a);
}

}  // namespace fnn::bindings
