// The pair of arguments `activation, alpha` of every kernel with an activation, checked.
#pragma once
#include <cmath>
#include <string>

#include "bindings/convert.h"
#include "math/activations.h"

namespace fnn::bindings {

inline Activation activation_argument(const Border& border, int activation, float alpha) {
  if (activation < 0 || activation >= kActivationCount) {
    border.fail("activation", "a value of ACTIVATIONS, 0 to " + std::to_string(kActivationCount - 1),
                std::to_string(activation));
  }
  if (!(alpha >= 0.f && std::isfinite(alpha))) border.fail("alpha", "finite and >= 0", std::to_string(alpha));
  return static_cast<Activation>(activation);
}

}  // namespace fnn::bindings
