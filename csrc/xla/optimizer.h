// The handlers of the optimizers, by the name of their rule.
#pragma once
#include "xla/ffi.h"

namespace fnn::xla {

struct NamedHandler {
  const char* name;
  Handler* handler;
};

// Ends with a name that is null.
extern const NamedHandler kOptimizerHandlers[];

}  // namespace fnn::xla
