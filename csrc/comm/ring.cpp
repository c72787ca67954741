#include "comm/ring.h"

#include <algorithm>

#include "base/thread_team.h"
#include "comm/combine.h"
#include "comm/copy.h"

namespace fnn::comm {
namespace {

// Bytes of a chunk. Of an array of 1 MB a rank would send only two of 256 KB at a time: smaller ones keep both ways of
// a connection busy (0.55 ms instead of 0.8 over veth).
constexpr std::int64_t kChunk = 256 << 10, kSmallChunk = 64 << 10, kFewChunks = 2 << 20;
constexpr std::int64_t kGrain = 64;  // elements

// Bytes that are on their way out, or coming in.
struct Transfer {
  std::byte* at = nullptr;
  std::int64_t bytes = 0, moved = 0;
  bool done() const { return moved == bytes; }
};

}  // namespace

Ring::Ring(Link& link, std::vector<std::vector<int>> order, int position)
    : link_(link), order_(std::move(order)), position_(position), ranks_(static_cast<int>(order_.size())) {}

Header Ring::meet(const Header& own) {
  Header other;
  Transfer out{reinterpret_cast<std::byte*>(const_cast<Header*>(&own)), sizeof own},
      in{reinterpret_cast<std::byte*>(&other), sizeof other};
  link_.begin(sizeof own);
  for (int rounds = 0; !out.done() || !in.done();) {
    const std::int64_t sent = out.done() ? 0 : link_.send(out.at + out.moved, out.bytes - out.moved);
    const std::int64_t got = in.done() ? 0 : link_.receive(in.at + in.moved, in.bytes - in.moved);
    out.moved += sent;
    in.moved += got;
    if (sent + got > 0) {
      rounds = 0;
    } else {
      link_.idle(rounds, !out.done(), !in.done());
    }
  }
  return other;
}

namespace {

// One direction of pass(): the parts one after the other, chunk by chunk.
class Stream {
 public:
  Stream(const Call& call, std::byte* buffer) : call_(call), item_(size_of(call.type)), buffer_(buffer) {}

  bool narrow() const { return call_.wire != Wire::full; }
  std::int64_t wire_item() const { return narrow() ? 2 : item_; }
  std::int64_t longest() const { return (call_.count * item_ <= kFewChunks ? kSmallChunk : kChunk) / item_; }

  // The next chunk, of at most `available` elements.
  void prepare_to_send(const std::byte* from, std::int64_t count) {
    count_ = count;
    if (narrow()) {
      comm::narrow(call_.wire, reinterpret_cast<std::uint16_t*>(buffer_), reinterpret_cast<const float*>(from), count);
    }
    transfer_ = {narrow() ? buffer_ : const_cast<std::byte*>(from), count * wire_item()};
  }
  // A chunk that is to be combined or widened comes into the buffer, any other one where it belongs.
  void prepare_to_receive(std::byte* to, std::int64_t count, const std::byte* own, int divisor) {
    count_ = count;
    to_ = to;
    own_ = own;
    divisor_ = divisor;
    transfer_ = {own != nullptr || narrow() ? buffer_ : to, count * wire_item()};
  }
  void accept() {
    if (narrow()) {
      auto* wide = reinterpret_cast<float*>(own_ != nullptr ? buffer_ + kChunk : to_);
      widen(call_.wire, wide, reinterpret_cast<const std::uint16_t*>(buffer_), count_);
    }
    if (own_ == nullptr) return;
    void* const to = to_;
    const void* const sources[] = {narrow() ? buffer_ + kChunk : buffer_, own_};
    combine(call_.combine, call_.type, &to, 1, sources, 2, count_, divisor_);
  }

  Transfer& transfer() { return transfer_; }
  bool active() const { return count_ > 0; }
  std::int64_t finish() {
    const std::int64_t count = count_;
    count_ = 0;
    return count;
  }

 private:
  const Call& call_;
  const std::int64_t item_;
  std::byte* const buffer_;
  Transfer transfer_;
  std::byte* to_ = nullptr;
  const std::byte* own_ = nullptr;
  int divisor_ = 1;
  std::int64_t count_ = 0;
};

// Where a stream of parts stands.
struct Place {
  std::size_t part = 0;
  std::int64_t done = 0;  // elements of that part
};

}  // namespace

void Ring::pass(const Call& call, const std::vector<Part>& first, const std::vector<Part>& parts,
                std::size_t handed_on) {
  std::byte* buffers = chunks_.reserve(3 * kChunk);
  Stream out(call, buffers), in(call, buffers + kChunk);
  const std::int64_t item = size_of(call.type);
  std::vector<Part> sends = first;
  sends.insert(sends.end(), parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(handed_on));
  Place sent, received;
  link_.begin(call.count * item);
  const auto skip_done = [](Place& place, const std::vector<Part>& of) {
    while (place.part < of.size() && place.done == of[place.part].count) place = {place.part + 1, 0};
  };
  for (int rounds = 0;;) {
    skip_done(sent, sends);
    skip_done(received, parts);
    const bool sends_more = sent.part < sends.size(), receives_more = received.part < parts.size();
    if (!sends_more && !receives_more) return link_.finish();
    if (sends_more && !out.active()) {
      // Behind the first ones, part i of what is received is sent.
      const std::size_t comes = sent.part - first.size();
      const bool is_there = sent.part < first.size() || comes < received.part;
      const std::int64_t there = is_there ? sends[sent.part].count : comes == received.part ? received.done : 0;
      const std::int64_t count = std::min(there - sent.done, out.longest());
      if (count > 0) out.prepare_to_send(sends[sent.part].at + sent.done * item, count);
    }
    if (receives_more && !in.active()) {
      const Part& part = parts[received.part];
      const std::int64_t at = received.done * item;
      in.prepare_to_receive(part.at + at, std::min(part.count - received.done, in.longest()),
                            part.own != nullptr ? part.own + at : nullptr, part.divisor);
    }
    std::int64_t moved = 0;
    for (Stream* stream : {&in, &out}) {
      if (!stream->active()) continue;
      Transfer& transfer = stream->transfer();
      std::byte* at = transfer.at + transfer.moved;
      const std::int64_t left = transfer.bytes - transfer.moved;
      const std::int64_t now = stream == &in ? link_.receive(at, left) : link_.send(at, left);
      transfer.moved += now;
      moved += now;
      if (!transfer.done()) continue;
      if (stream == &in) in.accept();
      (stream == &in ? received : sent).done += stream->finish();
    }
    if (moved > 0) {
      rounds = 0;
    } else {
      link_.idle(rounds, out.active(), in.active());
    }
  }
}

void Ring::run(const Call& call, int divisor) {
  if (call.count == 0 || ranks_ == 1) return;
  if (call.kind == Kind::all_reduce) all_reduce(call, divisor);
  if (call.kind == Kind::reduce_scatter) reduce_scatter(call, divisor);
  if (call.kind == Kind::all_gather) all_gather(call);
  if (call.kind == Kind::broadcast) broadcast(call);
}

void Ring::all_reduce(const Call& call, int divisor) {
  const std::int64_t item = size_of(call.type);
  const auto part = [&](int position) {
    const Range range = share(call.count, place(position), ranks_, kGrain);
    return Part{static_cast<std::byte*>(call.out) + range.begin * item, range.size(), nullptr};
  };
  std::vector<Part> parts;
  for (int step = 1; step < 2 * ranks_ - 1; ++step) {
    parts.push_back(part(position_ - step));
    if (step < ranks_) parts.back().own = parts.back().at;
    if (step == ranks_ - 1) parts.back().divisor = divisor;
  }
  pass(call, {part(position_)}, parts, parts.size() - 1);
  if (call.wire == Wire::full) return;
  // What this rank has completed the others have got rounded: now it has the same.
  const Part own = part(position_ + 1);
  std::byte* buffer = chunks_.reserve(3 * kChunk);
  for (std::int64_t done = 0; done < own.count; done += kChunk / item) {
    auto* values = reinterpret_cast<float*>(own.at) + done;
    const std::int64_t count = std::min(kChunk / item, own.count - done);
    narrow(call.wire, reinterpret_cast<std::uint16_t*>(buffer), values, count);
    widen(call.wire, values, reinterpret_cast<const std::uint16_t*>(buffer), count);
  }
}

// Partial sums live in scratch memory: the input stays as it is.
void Ring::reduce_scatter(const Call& call, int divisor) {
  const std::int64_t bytes = call.count * size_of(call.type);
  const auto* in = static_cast<const std::byte*>(call.in);
  std::size_t handed_on = 0;
  for (int step = 2; step < ranks_; ++step) handed_on += at(position_ - step).size();
  std::byte* scratch = scratch_.reserve(static_cast<std::size_t>(bytes) * handed_on);
  std::vector<Part> first, parts;
  for (const int rank : at(position_ - 1)) {
    first.push_back({const_cast<std::byte*>(in + rank * bytes), call.count, nullptr});
  }
  for (int step = 2; step <= ranks_; ++step) {
    const bool last = step == ranks_;
    auto* to = last ? static_cast<std::byte*>(call.out) : scratch + static_cast<std::int64_t>(parts.size()) * bytes;
    for (const int rank : at(position_ - step)) {
      parts.push_back({to, call.count, in + rank * bytes, last ? divisor : 1});
      to += bytes;
    }
  }
  pass(call, first, parts, handed_on);
}

void Ring::all_gather(const Call& call) {
  const std::int64_t bytes = call.count * size_of(call.type);
  auto* out = static_cast<std::byte*>(call.out);
  const auto append = [&](std::vector<Part>& parts, int position) {
    for (const int rank : at(position)) parts.push_back({out + rank * bytes, call.count, nullptr});
  };
  std::byte* own = out + at(position_)[0] * bytes;
  copy_bytes(own, call.in, bytes);
  std::vector<Part> first, parts;
  append(first, position_);
  for (int step = 1; step < ranks_; ++step) append(parts, position_ - step);
  pass(call, first, parts, parts.size() - at(position_ + 1).size());
}

void Ring::broadcast(const Call& call) {
  const Part whole{static_cast<std::byte*>(call.out), call.count, nullptr};
  const auto has_root = [&](int position) {
    return std::count(at(position).begin(), at(position).end(), call.root) > 0;
  };
  if (has_root(position_)) return pass(call, {whole}, {}, 0);
  pass(call, {}, {whole}, has_root(position_ + 1) ? 0 : 1);
}

}  // namespace fnn::comm
