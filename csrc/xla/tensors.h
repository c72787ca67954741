// The table of tensors that a call brings.
//
// Arguments: the step's number t from 1, the traced hyperparameters, then [params], grads and each slot of the state,
//            one buffer for each of the n tensors; all params of one type, as all grads and each slot.
// Results:   the params, or with the attribute `updates` what is to be added to them, and the slots. Each is meant to
//            lie where an argument lies (input_output_aliases in Python); one that doesn't is filled from there first.
// Attributes: `tensors` (n), `updates`, `has_params` (0 or 1); for each tensor, float32[n], `decay` (times
//            weight_decay), `lr_scale` (times learning_rate) and `adapts` (0 or 1), and int64[n] `rows`.
#pragma once
#include <vector>

#include "cpu/tensor_list.h"
#include "xla/call.h"

namespace fnn::xla {

// Valid until the next call of the same thread.
cpu::TensorList read_tensors(const Call& call, int slots);

}  // namespace fnn::xla
