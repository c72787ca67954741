// Memory that only kernels may touch: what lies on a GPU. Host code that reads or writes it gets a segmentation fault.
#pragma once

namespace cuemu {

// While one of these lives, hidden memory may be touched: around kernels and the runtime's copies.
class Revealed {
 public:
  Revealed();
  ~Revealed();
  Revealed(const Revealed&) = delete;
  Revealed& operator=(const Revealed&) = delete;
};

}  // namespace cuemu
