#include "comm/call.h"

namespace fnn::comm {
namespace {

// fastnn.distributed.arguments makes it: up to five axes in the order of their strides, three bits each, 7 for none;
// behind them a hash of all of them and of the shape.
std::string layout_text(std::uint32_t layout) {
  if (layout == 0) return "";
  std::string text = ", axes";
  for (int shift = 29; shift > 14; shift -= 3) {
    const std::uint32_t axis = layout >> shift & 7;
    if (axis < 7) text += " " + std::to_string(axis);
  }
  return text + " in memory (layout " + std::to_string(layout & 0x1ffff) + ")";
}

}  // namespace

Header header_of(const Call& call, std::uint64_t operation, std::uint64_t mapped) {
  Header header;
  header.operation = operation & ((std::uint64_t{1} << 40) - 1);
  header.count = call.count;
  header.mapped = mapped;
  header.root = static_cast<std::uint32_t>(call.root) & 0xffffff;
  header.layout = call.layout;
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
  text += layout_text(header.layout);
  if (header.kind == Kind::broadcast) text += ", root " + std::to_string(header.root);
  text += wires[header.way / 16];
  static constexpr const char* ways[] = {")", ", algorithm ring)", ", on GPUs)", ", algorithm ring on GPUs)",
                                         ", algorithm nccl on GPUs)"};
  return text + ways[header.way % 16];
}

}  // namespace fnn::comm
