// Arguments that several binders share: optional arrays, an activation and what its derivative needs.
#pragma once
#include "bindings/convert.h"
#include "math/activations.h"

namespace fnn::bindings {

template <class T>
Array<const T> optional_in(Border& border, const char* name, py::handle object, Shape wanted) {
  return object.is_none() ? Array<const T>{} : border.in<T>(name, object, wanted);
}
template <class T>
Array<T> optional_out(Border& border, const char* name, py::handle object, Shape wanted) {
  return object.is_none() ? Array<T>{} : border.out<T>(name, object, wanted);
}

inline Activation activation_argument(const Border& border, int activation, float alpha) {
  if (activation < 0 || activation >= kActivationCount) {
    border.fail("activation", "0 to " + std::to_string(kActivationCount - 1) + ", a value of ACTIVATIONS",
                std::to_string(activation));
  }
  const auto kind = static_cast<Activation>(activation);
  const bool sloped = kind == Activation::leaky_relu || kind == Activation::elu;
  if (sloped && !(alpha >= 0.f)) border.fail("alpha", "at least 0", std::to_string(alpha));
  return kind;
}

// The array that the derivative is computed from: needed unless the activation is linear.
inline Array<const float> saved_argument(Border& border, py::handle saved, Activation activation, Shape wanted) {
  if (activation == Activation::linear) return {};
  return border.in<float>("saved", saved, wanted);
}

}  // namespace fnn::bindings
