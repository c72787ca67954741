#include "comm/call.h"

namespace fnn::comm {

Header header_of(const Call& call, std::uint64_t operation, std::uint64_t mapped) {
  Header header;
  header.operation = operation;
  header.count = call.count;
  header.mapped = mapped;
  header.root = call.root;
  header.kind = call.kind;
  header.combine = call.combine;
  header.type = call.type;
  header.way = static_cast<std::uint8_t>(static_cast<int>(call.wire) * 16 + static_cast<int>(call.algorithm));
  return header;
}

const char* name_of(Kind kind) {
  static constexpr const char* names[] = {"all_reduce", "reduce_scatter", "all_gather",
                                          "broadcast",  "barrier",        "empty"};
  return names[static_cast<int>(kind)];
}

std::string text_of(const Header& header) {
  static constexpr const char* combines[] = {"sum", "mean", "max", "min"};
  static constexpr const char* types[] = {"float32", "float64", "float16", "bfloat16", "int32", "int64"};
  static constexpr const char* wires[] = {"", ", bfloat16 between hosts", ", float16 between hosts"};
  std::string text = name_of(header.kind);
  if (header.kind == Kind::barrier) return text + "()";
  if (header.kind == Kind::allocate) return text + "(" + std::to_string(header.count) + " bytes)";
  text += "(";
  if (header.kind <= Kind::reduce_scatter) text += std::string(combines[static_cast<int>(header.combine)]) + ", ";
  text += std::string(types[static_cast<int>(header.type)]) + ", " + std::to_string(header.count) + " elements";
  if (header.kind == Kind::broadcast) text += ", root " + std::to_string(header.root);
  text += wires[header.way / 16];
  static constexpr const char* ways[] = {")", ", algorithm ring)", ", on GPUs)", ", algorithm ring on GPUs)",
                                         ", algorithm nccl on GPUs)"};
  return text + ways[header.way % 16];
}

}  // namespace fnn::comm
