// Activation functions: value and gradient of each in one functor, a template over T (float on host and device, a
// vector in the CPU's loops), so that the elementwise kernels and the epilogues of GEMM and convolution share one
// formula.
//
// An activation has
//   value(z)               y = f(z)
//   gradient(saved, dy)    dz = f'(z) dy, where `saved` is z if kGradFromInput and y otherwise
// NaN propagates through both, and infinite z gives the limit.
#pragma once
#include "base/macros.h"
#include "math/numeric.h"
#include "math/special.h"

namespace fnn {

enum class Activation : int { linear, relu, leaky_relu, elu, gelu, gelu_tanh, silu, sigmoid, tanh, softplus };

inline constexpr int kActivationCount = 10;
inline constexpr const char* kActivationNames[kActivationCount] = {
    "linear", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softplus"};

struct Linear {
  static constexpr bool kGradFromInput = false;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return z;
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T /*y*/, T dy) const {
    return dy;
  }
};

// max(z, 0)
struct Relu {
  static constexpr bool kGradFromInput = false;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return max(z, T(0.f));
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T y, T dy) const {
    return select(y <= T(0.f), T(0.f), dy);
  }
};

// z for z > 0, alpha z elsewhere; alpha >= 0, so that y tells the side
struct LeakyRelu {
  static constexpr bool kGradFromInput = false;
  float alpha;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return select(z > T(0.f), z, z * T(alpha));
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T y, T dy) const {
    return select(y > T(0.f), dy, dy * T(alpha));
  }
};

// z for z > 0, alpha (exp(z) - 1) elsewhere; alpha >= 0 (Clevert et al., 2015, arXiv:1511.07289)
struct Elu {
  static constexpr bool kGradFromInput = false;
  float alpha;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return select(z > T(0.f), z, T(alpha) * expm1_nonpositive(min(z, T(0.f))));
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T y, T dy) const {
    return select(y > T(0.f), dy, dy * (y + T(alpha)));
  }
};

// z Phi(z), Phi the normal distribution function (Hendrycks and Gimpel, 2016, arXiv:1606.08415)
struct Gelu {
  static constexpr bool kGradFromInput = true;
  static constexpr float kFar = 20.f;  // Phi(-20) is 0 in float32; keeps inf * 0 away
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    const T c = max(z, T(-kFar));
    return c * normal(c).cdf;
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T z, T dy) const {
    const T c = min(max(z, T(-kFar)), T(kFar));
    const Normal<T> at = normal(c);
    return dy * (at.cdf + c * at.pdf);
  }
};

// z (1 + tanh(u)) / 2 with u = sqrt(2/pi) (z + 0.044715 z^3), written as z sigmoid(2u): no cancellation for z << 0
struct GeluTanh {
  static constexpr bool kGradFromInput = true;
  static constexpr float kFar = 20.f, kScale = 1.5957691216057308f, kCube = 0.044715f;  // kScale = 2 sqrt(2/pi)
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    const T c = max(z, T(-kFar));
    return c * fnn::sigmoid(T(kScale) * c * (T(1.f) + T(kCube) * c * c));
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T z, T dy) const {
    const T c = min(max(z, T(-kFar)), T(kFar));
    const T s = fnn::sigmoid(T(kScale) * c * (T(1.f) + T(kCube) * c * c));
    const T slope = T(kScale) * (T(1.f) + T(3.f * kCube) * c * c);
    return dy * (s + c * slope * s * (T(1.f) - s));
  }
};

// z sigmoid(z), also called swish
struct Silu {
  static constexpr bool kGradFromInput = true;
  static constexpr float kFar = 200.f;  // sigmoid(-200) is 0; keeps inf * 0 away
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    const T c = max(z, T(-kFar));
    return c * fnn::sigmoid(c);
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T z, T dy) const {
    const T c = min(max(z, T(-kFar)), T(kFar));
    const T s = fnn::sigmoid(c);
    return dy * s * (T(1.f) + c * (T(1.f) - s));
  }
};

struct Sigmoid {
  static constexpr bool kGradFromInput = false;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return fnn::sigmoid(z);
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T y, T dy) const {
    return dy * (y * (T(1.f) - y));
  }
};

struct Tanh {
  static constexpr bool kGradFromInput = false;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return fnn::tanh(z);
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T y, T dy) const {
    return dy * (T(1.f) - y * y);
  }
};

// log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|))
struct Softplus {
  static constexpr bool kGradFromInput = true;
  template <class T>
  FNN_HD FNN_INLINE T value(T z) const {
    return max(z, T(0.f)) + log1p(exp(T(0.f) - abs(z)));
  }
  template <class T>
  FNN_HD FNN_INLINE T gradient(T z, T dy) const {
    return dy * fnn::sigmoid(z);
  }
};

// Calls f with the functor of `activation`: turns the run-time choice into a type, once, outside the loop. On a device,
// too, with an f for there.
#ifdef __CUDACC__
#pragma nv_exec_check_disable
#endif
template <class F>
FNN_HD inline auto with_activation(Activation activation, float alpha, F&& f) {
  switch (activation) {
    case Activation::linear:
      break;
    case Activation::relu:
      return f(Relu{});
    case Activation::leaky_relu:
      return f(LeakyRelu{alpha});
    case Activation::elu:
      return f(Elu{alpha});
    case Activation::gelu:
      return f(Gelu{});
    case Activation::gelu_tanh:
      return f(GeluTanh{});
    case Activation::silu:
      return f(Silu{});
    case Activation::sigmoid:
      return f(Sigmoid{});
    case Activation::tanh:
      return f(Tanh{});
    case Activation::softplus:
      return f(Softplus{});
  }
  return f(Linear{});
}

// Whether the gradient needs the pre-activation z; the others need only the output y.
inline bool grad_from_input(Activation activation) {
  return with_activation(activation, 0.f, [](auto f) { return decltype(f)::kGradFromInput; });
}

}  // namespace fnn
