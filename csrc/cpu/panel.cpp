#include "cpu/panel.h"

#include "cpu/for_each.h"

namespace fnn::cpu {

void activate(Activation activation, float alpha, const float* z, float* y, std::int64_t count) {
  with_activation(activation, alpha, [&](auto f) { map(0, count, y, [f](Vec x) { return f.value(x); }, z); });
}

}  // namespace fnn::cpu
