// The part of XLA's C interface for foreign functions that a handler needs, declared anew: neither XLA nor JAX has to
// be there to build. Layout and numbers are those of jaxlib's include/xla/ffi/api/c_api.h, versions 0.1 to 0.3, which
// share them; tests/test_jax_ffi.py compiles both side by side and compares every field.
//
// Every struct begins with its size as the other side knows it: a newer XLA appends fields and raises the minor
// version.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fnn::xla {

inline constexpr int kMajorVersion = 0;
inline constexpr int kMinorVersion = 3;  // the newest that was compared

struct Error;             // XLA's own
struct ExecutionContext;  // XLA's own

enum class ErrorCode : std::int32_t { invalid_argument = 3, internal = 13 };
// Those that handlers here take.
enum class DataType : std::int32_t { s32 = 4, s64 = 5, f16 = 10, f32 = 11, f64 = 12, bf16 = 16 };
enum class Stage : std::int32_t { execute = 3 };
enum class ArgumentType : std::int32_t { buffer = 1 };  // of results too
enum class AttributeType : std::int32_t { array = 1, dictionary = 2, scalar = 3, string = 4 };
enum class ExtensionType : std::int32_t { metadata = 1 };

struct Extension {
  std::size_t struct_size;
  ExtensionType type;
  Extension* next;
};

struct Version {
  std::size_t struct_size;
  Extension* extension_start;
  int major_version, minor_version;
};

struct ErrorArguments {
  std::size_t struct_size;
  Extension* extension_start;
  const char* message;
  ErrorCode code;
};

using Task = void(void* data);

struct ScheduleArguments {
  std::size_t struct_size;
  Extension* extension_start;
  ExecutionContext* context;
  Task* task;
  void* data;
};

struct ThreadCountArguments {
  std::size_t struct_size;
  Extension* extension_start;
  ExecutionContext* context;
  std::int64_t* threads;
};

struct DestroyArguments {
  std::size_t struct_size;
  Extension* extension_start;
  Error* error;
};

struct StreamArguments {
  std::size_t struct_size;
  Extension* extension_start;
  ExecutionContext* context;
  void* stream;  // a cudaStream_t
};

// The functions that XLA offers; there are more after the last.
struct Api {
  std::size_t struct_size;
  Extension* extension_start;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorArguments*);
  const void* error_message;
  void (*destroy_error)(DestroyArguments*);
  const void* register_handler;
  Error* (*get_stream)(StreamArguments*);
  const void* others[6];  // about types, state and memory
  Error* (*schedule)(ScheduleArguments*);
  Error* (*thread_count)(ThreadCountArguments*);
};

struct Buffer {
  std::size_t struct_size;
  Extension* extension_start;
  DataType dtype;
  void* data;
  std::int64_t rank;
  std::int64_t* dims;
};

struct Text {
  const char* begin;
  std::size_t size;
};

struct ScalarAttribute {
  DataType dtype;
  void* value;
};

struct ArrayAttribute {
  DataType dtype;
  std::size_t size;
  void* data;
};

// Arguments and results alike.
struct Buffers {
  std::size_t struct_size;
  Extension* extension_start;
  std::int64_t size;
  ArgumentType* types;
  void** items;
};

// Sorted by name.
struct Attributes {
  std::size_t struct_size;
  Extension* extension_start;
  std::int64_t size;
  AttributeType* types;
  Text** names;
  void** items;
};

struct CallFrame {
  std::size_t struct_size;
  Extension* extension_start;
  const Api* api;
  ExecutionContext* context;
  Stage stage;
  Buffers arguments;
  Buffers results;
  Attributes attributes;
};

// What XLA asks when a handler is registered. state_type is there from version 0.2 on.
struct Metadata {
  std::size_t struct_size;
  Version version;
  std::uint32_t traits;
  std::int64_t state_type;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

using Handler = Error*(CallFrame*);

}  // namespace fnn::xla
