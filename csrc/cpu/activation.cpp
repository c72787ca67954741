#include "cpu/activation.h"

#include "cpu/for_each.h"

namespace fnn::cpu {

void ActivationForward::operator()(const Worker& worker) const {
  with_activation(activation, alpha,
                  [&](auto f) { map_share(worker, count, y, [f](Vec z) { return f.value(z); }, x); });
}

void ActivationBackward::operator()(const Worker& worker) const {
  with_activation(activation, alpha, [&](auto f) {
    map_share(worker, count, dx, [f](Vec s, Vec g) { return f.gradient(s, g); }, saved, dy);
  });
}

}  // namespace fnn::cpu
