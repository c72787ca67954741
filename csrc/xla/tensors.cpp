#include "xla/tensors.h"

#include <cstring>

namespace fnn::xla {
namespace {

cpu::Format format_of(const Array& array) {
  if (array.dtype == DataType::f32) return cpu::Format::float32;
  return array.dtype == DataType::bf16 ? cpu::Format::bfloat16 : cpu::Format::float16;
}

class Reader {
 public:
  Reader(const Call& call, int slots)
      : call_(call),
        slots_(slots),
        n_(call.integer("tensors")),
        updates_(call.integer("updates") != 0),
        has_params_(call.integer("has_params") != 0),
        first_grad_(call.argument_count() - n_ * (1 + slots)) {
    FNN_CHECK(n_ >= 0 && call.result_count() >= n_ * (1 + slots), "there is a result for each tensor and slot");
    FNN_CHECK(updates_ || has_params_, "there are parameters to change");
  }

  cpu::TensorList read(std::vector<cpu::OptimizerTensor>& tensors) {
    const float *decay = call_.floats("decay", n_), *lr_scale = call_.floats("lr_scale", n_);
    const float* adapts = call_.floats("adapts", n_);
    const std::int64_t* rows = call_.integers("rows", n_);
    tensors.clear();
    std::int64_t begin = 0;
    for (std::int64_t i = 0; i < n_; ++i) {
      cpu::OptimizerTensor tensor = read_arrays(i);
      tensor.begin = begin;
      tensor.decay = decay[i];
      tensor.lr_scale = lr_scale[i];
      tensor.adapts = adapts[i] != 0.f;
      tensor.rows = rows[i];
      FNN_CHECK(rows[i] >= 0 && (rows[i] == 0 ? rows[i] : tensor.count % rows[i]) == 0, "a matrix has whole rows");
      begin += tensor.count;
      tensors.push_back(tensor);
    }
    return {tensors.data(), n_, begin, formats_};
  }

 private:
  cpu::OptimizerTensor read_arrays(std::int64_t i) {
    cpu::OptimizerTensor tensor{};
    const Array grad = call_.argument(first_grad_ + i);
    tensor.grad = grad.floats();
    tensor.count = grad.count;
    same_format(i, formats_.grad, grad);
    if (updates_) {
      const Array update = sized(call_.result(i), tensor.count);
      tensor.update = update.floats();
      same_format(i, formats_.param, update);
    }
    if (has_params_) {
      const Array param = sized(call_.argument(first_grad_ - n_ + i), tensor.count);
      tensor.param = (updates_ ? param : in_place(i, param)).floats();
      if (updates_) FNN_CHECK(format_of(param) == formats_.param, "an update is of its parameter's type");
      if (!updates_) same_format(i, formats_.param, param);
    }
    for (int k = 0; k < slots_; ++k) {
      const std::int64_t of_slot = (1 + k) * n_ + i;
      const Array before = sized(call_.argument(first_grad_ + of_slot), tensor.count);
      tensor.slots[k] = in_place(of_slot, before).floats();
      same_format(i, formats_.slots[k], before);
    }
    return tensor;
  }

  // The result at `position`, which holds what `argument` holds.
  Array in_place(std::int64_t position, const Array& argument) const {
    const Array result = sized(call_.result(position), argument.count);
    FNN_CHECK(result.dtype == argument.dtype, "a result is of its argument's type");
    if (result.data != argument.data && result.count > 0) {
#ifdef FNN_CUDA
      cuda::copy_bytes(call_.stream(), result.data, argument.data, result.bytes());
#else
      std::memcpy(result.data, argument.data, result.bytes());
#endif
    }
    return result;
  }

  static Array sized(const Array& array, std::int64_t count) {
    FNN_CHECK(array.count == count, "an array has as many elements as its tensor");
    return array;
  }

  static void same_format(std::int64_t i, cpu::Format& format, const Array& array) {
    if (i == 0) format = format_of(array);
    FNN_CHECK(format == format_of(array), "all arrays of a kind are of one type");
  }

  const Call& call_;
  const int slots_;
  const std::int64_t n_;
  const bool updates_, has_params_;
  const std::int64_t first_grad_;
  cpu::Formats formats_;
};

}  // namespace

cpu::TensorList read_tensors(const Call& call, int slots) {
  thread_local std::vector<cpu::OptimizerTensor> tensors;  // there is one call a step
  return Reader(call, slots).read(tensors);
}

}  // namespace fnn::xla
