// What a handler's call holds, each thing checked: a frame that Python built wrongly must end in an error, not in
// memory that isn't ours.
#include "xla/call.h"

#include <algorithm>
#include <cstring>
#include <exception>

namespace fnn::xla {
namespace {

Error* failure(const CallFrame& frame, ErrorCode code, const char* message) {
  ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message, code};
  return frame.api->create_error(&arguments);
}

// XLA takes handlers of its own version and of those some time back, so the answer is the older one of both sides'.
void describe(const CallFrame& frame, Metadata& metadata) {
  metadata.version = {sizeof(Version), nullptr, kMajorVersion,
                      std::min(kMinorVersion, frame.api->version.minor_version)};
  metadata.traits = 0;
  if (metadata.struct_size >= sizeof(Metadata)) metadata.state_type = 0;  // no state
}

std::int64_t element_count(const Buffer& buffer) {
  std::int64_t count = 1;
  for (std::int64_t i = 0; i < buffer.rank; ++i) count *= buffer.dims[i];
  return count;
}

}  // namespace

std::size_t Array::bytes() const { return static_cast<std::size_t>(count) * (dtype == DataType::f32 ? 4 : 2); }

std::int64_t Call::find(const char* name, AttributeType type) const {
  const std::size_t length = std::strlen(name);
  for (std::int64_t i = 0; i < frame_.attributes.size; ++i) {
    const Text& text = *frame_.attributes.names[i];
    if (text.size != length || std::memcmp(text.begin, name, length) != 0) continue;
    if (frame_.attributes.types[i] == type) return i;
    throw fnn::Error(std::string("attribute ") + name + " is of another type");
  }
  throw fnn::Error(std::string("there is no attribute ") + name);
}

double Call::number(const char* name) const {
#ifdef FNN_CUDA
  const cuda::TracedNumber number = traced(name);
  return number.at == nullptr ? number.value : cuda::read_number(stream(), number);
#else
  const auto& attribute =
      *static_cast<const ScalarAttribute*>(frame_.attributes.items[find(name, AttributeType::scalar)]);
  if (attribute.dtype == DataType::f64) return *static_cast<const double*>(attribute.value);
  const Buffer& traced = scalar(integer(name));
  if (traced.dtype == DataType::f64) return *static_cast<const double*>(traced.data);
  FNN_CHECK(traced.dtype == DataType::f32, "a traced number is a float");
  return static_cast<double>(*static_cast<const float*>(traced.data));
#endif
}

#ifdef FNN_CUDA

cuda::TracedNumber Call::traced(const char* name) const {
  const auto& attribute =
      *static_cast<const ScalarAttribute*>(frame_.attributes.items[find(name, AttributeType::scalar)]);
  if (attribute.dtype == DataType::f64)
    return {nullptr, *static_cast<const double*>(attribute.value), cuda::NumberType::float64};
  const Buffer& found = scalar(integer(name));
  FNN_CHECK(found.dtype == DataType::f32 || found.dtype == DataType::f64, "a traced number is a float");
  return {found.data, 0.0, found.dtype == DataType::f64 ? cuda::NumberType::float64 : cuda::NumberType::float32};
}

cuda::TracedNumber Call::traced_counter(std::int64_t argument) const {
  const Buffer& count = scalar(argument);
  FNN_CHECK(count.dtype == DataType::s32 || count.dtype == DataType::s64, "a counter is an int32 or int64");
  return {count.data, 0.0, count.dtype == DataType::s64 ? cuda::NumberType::int64 : cuda::NumberType::int32};
}

cudaStream_t Call::stream() const {
  StreamArguments arguments{sizeof(StreamArguments), nullptr, frame_.context, nullptr};
  FNN_CHECK(succeeded(frame_.api->get_stream(&arguments)), "XLA hands over a stream");
  return static_cast<cudaStream_t>(arguments.stream);
}

#endif

std::int64_t Call::integer(const char* name) const {
  const auto& attribute =
      *static_cast<const ScalarAttribute*>(frame_.attributes.items[find(name, AttributeType::scalar)]);
  if (attribute.dtype == DataType::s64) return *static_cast<const std::int64_t*>(attribute.value);
  FNN_CHECK(attribute.dtype == DataType::s32, "a whole number is an int32 or int64");
  return *static_cast<const std::int32_t*>(attribute.value);
}

std::int64_t Call::counter(std::int64_t argument) const {
  const Buffer& count = scalar(argument);
  if (count.dtype == DataType::s64) return *static_cast<const std::int64_t*>(count.data);
  FNN_CHECK(count.dtype == DataType::s32, "a counter is an int32 or int64");
  return *static_cast<const std::int32_t*>(count.data);
}

const void* Call::numbers(const char* name, DataType dtype, std::int64_t count) const {
  const auto& attribute =
      *static_cast<const ArrayAttribute*>(frame_.attributes.items[find(name, AttributeType::array)]);
  FNN_CHECK(attribute.dtype == dtype, "an array of numbers is of another type");
  FNN_CHECK(static_cast<std::int64_t>(attribute.size) == count, "an array of numbers has one for each tensor");
  return attribute.data;
}

const float* Call::floats(const char* name, std::int64_t count) const {
  return static_cast<const float*>(numbers(name, DataType::f32, count));
}

const std::int64_t* Call::integers(const char* name, std::int64_t count) const {
  return static_cast<const std::int64_t*>(numbers(name, DataType::s64, count));
}

bool Call::succeeded(Error* error) const {
  if (error == nullptr) return true;
  DestroyArguments arguments{sizeof(DestroyArguments), nullptr, error};
  frame_.api->destroy_error(&arguments);
  return false;
}

std::int64_t Call::pool_size() const {
  std::int64_t threads = 1;
  if (frame_.api->struct_size < sizeof(Api)) return threads;
  ThreadCountArguments arguments{sizeof(ThreadCountArguments), nullptr, frame_.context, &threads};
  return succeeded(frame_.api->thread_count(&arguments)) ? threads : 1;
}

bool Call::schedule(Task* task, void* data) const {
  ScheduleArguments arguments{sizeof(ScheduleArguments), nullptr, frame_.context, task, data};
  return succeeded(frame_.api->schedule(&arguments));
}

Array Call::array(const Buffers& buffers, std::int64_t position, const char* what) {
  const Buffer& found = buffer(buffers, position, what);
  FNN_CHECK(found.dtype == DataType::f32 || found.dtype == DataType::bf16 || found.dtype == DataType::f16,
            std::string(what) + "s are float32, bfloat16 or float16");
  return {found.data, found.dtype, element_count(found)};
}

const Buffer& Call::buffer(const Buffers& buffers, std::int64_t position, const char* what) {
  FNN_CHECK(position >= 0 && position < buffers.size, std::string("there are fewer ") + what + "s");
  FNN_CHECK(buffers.types[position] == ArgumentType::buffer, std::string(what) + "s are buffers");
  const auto& found = *static_cast<const Buffer*>(buffers.items[position]);
  FNN_CHECK(found.struct_size >= sizeof(Buffer), "XLA's buffers are of a known layout");
  return found;
}

const Buffer& Call::scalar(std::int64_t argument) const {
  const Buffer& found = buffer(frame_.arguments, argument, "argument");
  FNN_CHECK(element_count(found) == 1, "a number has one element");
  return found;
}

Error* answer(CallFrame* frame, void (*body)(const Call&)) noexcept {
  if (frame->struct_size < sizeof(CallFrame)) {
    return failure(*frame, ErrorCode::internal, "fastnn: XLA's call frame is of an unknown layout");
  }
  for (Extension* extension = frame->extension_start; extension != nullptr; extension = extension->next) {
    if (extension->type != ExtensionType::metadata) continue;
    describe(*frame, *reinterpret_cast<MetadataExtension*>(extension)->metadata);
    return nullptr;
  }
  if (frame->stage != Stage::execute) return nullptr;
  try {
    body(Call(*frame));
  } catch (const std::exception& error) {
    return failure(*frame, ErrorCode::invalid_argument, (std::string("fastnn: ") + error.what()).c_str());
  }
  return nullptr;
}

}  // namespace fnn::xla
