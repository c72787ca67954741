// simple_rnn_forward, lstm_forward, gru_forward and their backward kernels
#include "bindings/activation_argument.h"
#include "bindings/launch.h"
#include "cpu/recurrent.h"

namespace fnn::bindings {
namespace {

struct Options {
  int activation, recurrent_activation;
  float alpha, recurrent_alpha;
  bool go_backwards, return_sequences;
};

Activation cell_activation(const Border& border, const char* name, int code, float alpha) {
  if (code < 0 || code >= kActivationCount) {
    border.fail(name, "0 to " + std::to_string(kActivationCount - 1) + ", a value of ACTIVATIONS",
                std::to_string(code));
  }
  const auto kind = static_cast<Activation>(code);
  if (grad_from_input(kind))
    border.fail(name, "one whose derivative is computed from its result", kActivationNames[code]);
  return activation_argument(border, code, alpha);
}

// What every forward and backward kernel takes first: x, the two matrices of weights, and what the sizes follow from.
struct Given {
  Array<const float> x, w, r;
  cpu::Recurrence shape;
  std::int64_t columns;  // of the weights

  Given(Border& border, std::int64_t blocks, py::handle input, py::handle kernel, py::handle recurrent_kernel,
        const Options& options) {
    x = border.in<float>("x", input, {kAny, kAny, kAny});
    r = border.in<float>("recurrent_kernel", recurrent_kernel, {kAny, kAny});
    const std::int64_t units = r.shape[0];
    columns = blocks * units;
    if (r.shape[1] != columns) {
      border.fail("recurrent_kernel", "of shape (units, " + std::to_string(blocks) + " * units)",
                  "(" + std::to_string(units) + ", " + std::to_string(r.shape[1]) + ")");
    }
    w = border.in<float>("kernel", kernel, {x.shape[2], columns});
    if (x.shape[1] < 1) border.fail("x", "of at least one step", "none");
    shape = {{},
             x.shape[0],
             x.shape[1],
             x.shape[2],
             units,
             cell_activation(border, "activation", options.activation, options.alpha),
             cell_activation(border, "recurrent_activation", options.recurrent_activation, options.recurrent_alpha),
             options.alpha,
             options.recurrent_alpha,
             options.go_backwards,
             options.return_sequences};
  }
};

// y [n, steps, units] or [n, units], h [n, steps, units]; one of them may be None.
struct Outputs {
  Array<float> y, h;

  Outputs(Border& border, const cpu::Recurrence& k, py::handle output, py::handle states) {
    if (output.is_none() && states.is_none()) border.fail("y", "an array where h is None", "None");
    h = optional_out<float>(border, "h", states, {k.n, k.steps, k.units});
    if (k.sequences)
      y = optional_out<float>(border, "y", output, {k.n, k.steps, k.units});
    else
      y = optional_out<float>(border, "y", output, {k.n, k.units});
  }
};

struct Gradients {
  Array<const float> dy;
  Array<float> dz, dw, dr, db, dx;

  Gradients(Border& border, const Given& given, std::int64_t blocks, py::handle grad, py::handle grad_z,
            py::handle grad_w, py::handle grad_r, py::handle grad_b, py::handle grad_x, bool two_biases) {
    const cpu::Recurrence& k = given.shape;
    dy = k.sequences ? border.in<float>("dy", grad, {k.n, k.steps, k.units})
                     : border.in<float>("dy", grad, {k.n, k.units});
    dz = border.out<float>("dz", grad_z, {k.n, k.steps, blocks * k.units});
    dw = optional_out<float>(border, "dkernel", grad_w, {k.features, given.columns});
    dr = optional_out<float>(border, "drecurrent_kernel", grad_r, {k.units, given.columns});
    db = two_biases ? optional_out<float>(border, "dbias", grad_b, {2, given.columns})
                    : optional_out<float>(border, "dbias", grad_b, {given.columns});
    dx = optional_out<float>(border, "dx", grad_x, {k.n, k.steps, k.features});
  }
};

void simple_rnn_forward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle bias, py::handle y,
                        py::handle h, int activation, float alpha, bool go_backwards, bool return_sequences) {
  Border border("simple_rnn_forward");
  const Given given(border, 1, x, kernel, recurrent_kernel,
                    {activation, 0, alpha, 0.f, go_backwards, return_sequences});
  const auto offset = optional_in<float>(border, "bias", bias, {given.columns});
  const Outputs out(border, given.shape, y, h);
  border.done();
  launch(cpu::SimpleRnnForward{given.shape, given.x.ptr(), given.w.ptr(), given.r.ptr(), offset.ptr(), out.y.ptr(),
                               out.h.ptr()});
}

void simple_rnn_backward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle h, py::handle dy,
                         py::handle dz, py::handle dkernel, py::handle drecurrent_kernel, py::handle dbias,
                         py::handle dx, int activation, float alpha, bool go_backwards, bool return_sequences,
                         bool accumulate) {
  Border border("simple_rnn_backward");
  const Given given(border, 1, x, kernel, recurrent_kernel,
                    {activation, 0, alpha, 0.f, go_backwards, return_sequences});
  const cpu::Recurrence& k = given.shape;
  const auto states = border.in<float>("h", h, {k.n, k.steps, k.units});
  const Gradients d(border, given, 1, dy, dz, dkernel, drecurrent_kernel, dbias, dx, false);
  border.done();
  launch(cpu::SimpleRnnBackward{k, given.x.ptr(), given.w.ptr(), given.r.ptr(), states.ptr(), d.dy.ptr(), d.dz.ptr(),
                                d.dw.ptr(), d.dr.ptr(), d.db.ptr(), d.dx.ptr(), accumulate});
}

void lstm_forward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle bias, py::handle y,
                  py::handle h, py::handle c, py::handle gates, int activation, int recurrent_activation, float alpha,
                  float recurrent_alpha, bool go_backwards, bool return_sequences) {
  Border border("lstm_forward");
  const Given given(border, 4, x, kernel, recurrent_kernel,
                    {activation, recurrent_activation, alpha, recurrent_alpha, go_backwards, return_sequences});
  const cpu::Recurrence& k = given.shape;
  const auto offset = optional_in<float>(border, "bias", bias, {given.columns});
  const Outputs out(border, k, y, h);
  const auto states = optional_out<float>(border, "c", c, {k.n, k.steps, k.units});
  const auto kept = optional_out<float>(border, "gates", gates, {k.n, k.steps, 4 * k.units});
  border.done();
  launch(cpu::LstmForward{k, given.x.ptr(), given.w.ptr(), given.r.ptr(), offset.ptr(), out.y.ptr(), out.h.ptr(),
                          states.ptr(), kept.ptr()});
}

void lstm_backward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle h, py::handle c,
                   py::handle gates, py::handle dy, py::handle dz, py::handle dkernel, py::handle drecurrent_kernel,
                   py::handle dbias, py::handle dx, int activation, int recurrent_activation, float alpha,
                   float recurrent_alpha, bool go_backwards, bool return_sequences, bool accumulate) {
  Border border("lstm_backward");
  const Given given(border, 4, x, kernel, recurrent_kernel,
                    {activation, recurrent_activation, alpha, recurrent_alpha, go_backwards, return_sequences});
  const cpu::Recurrence& k = given.shape;
  const auto outputs = border.in<float>("h", h, {k.n, k.steps, k.units});
  const auto states = border.in<float>("c", c, {k.n, k.steps, k.units});
  const auto kept = border.in<float>("gates", gates, {k.n, k.steps, 4 * k.units});
  const Gradients d(border, given, 4, dy, dz, dkernel, drecurrent_kernel, dbias, dx, false);
  border.done();
  launch(cpu::LstmBackward{k, given.x.ptr(), given.w.ptr(), given.r.ptr(), outputs.ptr(), states.ptr(), kept.ptr(),
                           d.dy.ptr(), d.dz.ptr(), d.dw.ptr(), d.dr.ptr(), d.db.ptr(), d.dx.ptr(), accumulate});
}

void gru_forward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle bias, py::handle y,
                 py::handle h, py::handle gates, int activation, int recurrent_activation, float alpha,
                 float recurrent_alpha, bool go_backwards, bool return_sequences, bool reset_after) {
  Border border("gru_forward");
  const Given given(border, 3, x, kernel, recurrent_kernel,
                    {activation, recurrent_activation, alpha, recurrent_alpha, go_backwards, return_sequences});
  const cpu::Recurrence& k = given.shape;
  const auto offset = reset_after ? optional_in<float>(border, "bias", bias, {2, given.columns})
                                  : optional_in<float>(border, "bias", bias, {given.columns});
  const Outputs out(border, k, y, h);
  const auto kept = optional_out<float>(border, "gates", gates, {k.n, k.steps, 4 * k.units});
  border.done();
  launch(cpu::GruForward{k, given.x.ptr(), given.w.ptr(), given.r.ptr(), offset.ptr(), out.y.ptr(), out.h.ptr(),
                         kept.ptr(), reset_after});
}

void gru_backward(py::handle x, py::handle kernel, py::handle recurrent_kernel, py::handle h, py::handle gates,
                  py::handle dy, py::handle dz, py::handle dkernel, py::handle drecurrent_kernel, py::handle dbias,
                  py::handle dx, int activation, int recurrent_activation, float alpha, float recurrent_alpha,
                  bool go_backwards, bool return_sequences, bool reset_after, bool accumulate) {
  Border border("gru_backward");
  const Given given(border, 3, x, kernel, recurrent_kernel,
                    {activation, recurrent_activation, alpha, recurrent_alpha, go_backwards, return_sequences});
  const cpu::Recurrence& k = given.shape;
  const auto outputs = border.in<float>("h", h, {k.n, k.steps, k.units});
  const auto kept = border.in<float>("gates", gates, {k.n, k.steps, 4 * k.units});
  const Gradients d(border, given, 4, dy, dz, dkernel, drecurrent_kernel, dbias, dx, reset_after);
  border.done();
  launch(cpu::GruBackward{k, given.x.ptr(), given.w.ptr(), given.r.ptr(), outputs.ptr(), kept.ptr(), d.dy.ptr(),
                          d.dz.ptr(), d.dw.ptr(), d.dr.ptr(), d.db.ptr(), d.dx.ptr(), accumulate, reset_after});
}

}  // namespace

void bind_recurrent(py::module_& module) {
  using namespace py::literals;
  module.def("simple_rnn_forward", &simple_rnn_forward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "bias"_a, "y"_a, "h"_a,
             "activation"_a, "alpha"_a, "go_backwards"_a, "return_sequences"_a);
  module.def("simple_rnn_backward", &simple_rnn_backward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "h"_a, "dy"_a,
             "dz"_a, "dkernel"_a, "drecurrent_kernel"_a, "dbias"_a, "dx"_a, "activation"_a, "alpha"_a, "go_backwards"_a,
             "return_sequences"_a, "accumulate"_a);
  module.def("lstm_forward", &lstm_forward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "bias"_a, "y"_a, "h"_a, "c"_a,
             "gates"_a, "activation"_a, "recurrent_activation"_a, "alpha"_a, "recurrent_alpha"_a, "go_backwards"_a,
             "return_sequences"_a);
  module.def("lstm_backward", &lstm_backward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "h"_a, "c"_a, "gates"_a, "dy"_a,
             "dz"_a, "dkernel"_a, "drecurrent_kernel"_a, "dbias"_a, "dx"_a, "activation"_a, "recurrent_activation"_a,
             "alpha"_a, "recurrent_alpha"_a, "go_backwards"_a, "return_sequences"_a, "accumulate"_a);
  module.def("gru_forward", &gru_forward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "bias"_a, "y"_a, "h"_a, "gates"_a,
             "activation"_a, "recurrent_activation"_a, "alpha"_a, "recurrent_alpha"_a, "go_backwards"_a,
             "return_sequences"_a, "reset_after"_a);
  module.def("gru_backward", &gru_backward, "x"_a, "kernel"_a, "recurrent_kernel"_a, "h"_a, "gates"_a, "dy"_a, "dz"_a,
             "dkernel"_a, "drecurrent_kernel"_a, "dbias"_a, "dx"_a, "activation"_a, "recurrent_activation"_a, "alpha"_a,
             "recurrent_alpha"_a, "go_backwards"_a, "return_sequences"_a, "reset_after"_a, "accumulate"_a);
}

}  // namespace fnn::bindings
