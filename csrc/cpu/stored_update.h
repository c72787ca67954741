// Loops of their own for updates of tensors that aren't float32, where a detour through float32 chunks costs too much.
#pragma once
#include "cpu/tensor_list.h"

namespace fnn::cpu {

// Updates elements from `begin` on, and returns the first that it leaves to visit_elements: `end` for states that are
// all in 8 bits, nearly that where everything is bfloat16, else `begin`.
template <class Rule>
std::int64_t update_stored(const TensorList& list, const OptimizerTensor& tensor, const TensorStep<Rule>& numbers,
                           std::int64_t begin, std::int64_t end, std::int64_t t);

}  // namespace fnn::cpu
