#include "cpu/gemm.h"

#include <algorithm>

#include "cpu/gemv.h"
#include "cpu/pack.h"
#include "cpu/panel.h"

namespace fnn::cpu {
namespace {

// Block sizes: a panel of B (kDepth x 2 vectors) stays in the first-level cache, a block of A (kRows x kDepth) in half
// of the second level, a block of B (kDepth x kColumns) in the third.
constexpr std::int64_t kDepth = 256, kRows = 16 * kMaxTileRows, kColumns = 64 * kLanes;
// Up to here (in floats) B's panel is read where it lies: it fits the second-level cache and needs few pages.
constexpr std::int64_t kSmallPanel = 64 * 1024;

struct Split {
  int m, n;  // threads along the rows and along the columns of C
};

// How C is cut into one block a thread: least time of the slowest thread, in tile rows, with two rows' worth for each
// tile.
Split split_of(const Gemm& g, int threads) {
  Split best = {1, 1};
  std::int64_t best_cost = INT64_MAX;
  for (int tm = 1; tm <= threads; ++tm) {
    const int tn = threads / tm;
    const std::int64_t panels = ((g.n + 2 * kLanes - 1) / (2 * kLanes) + tn - 1) / tn;
    const std::int64_t rows = (g.m + tm - 1) / tm;
    const std::int64_t tiles = (rows + kMaxTileRows - 1) / kMaxTileRows;
    const std::int64_t cost = panels * (rows + 2 * tiles);
    if (cost < best_cost) {
      best_cost = cost;
      best = {tm, tn};
    }
  }
  return best;
}

struct Blocking {
  bool pack_a, pack_b;
  std::int64_t rows, columns, depth;
};

Blocking blocking_of(const Gemm& g) {
  // Rows of A that lie a multiple of 4 KB apart fall into one set of the first-level cache and evict each other.
  const bool rows_collide = !g.a_transposed && g.lda % 1024 == 0 && g.m > 4 && g.k > kLanes;
  const bool large = g.k * 2 * kLanes > kSmallPanel || g.m * g.k > 4 * kSmallPanel || g.n * g.k > 8 * kSmallPanel;
  const bool pack_a = (large && g.n > 4 * kLanes && g.m > kMaxTileRows) || (rows_collide && g.n > 2 * kLanes);
  const bool pack_b = g.b_transposed || (large && g.m > 4 * kMaxTileRows);
  const bool blocked = pack_a || pack_b;
  const std::int64_t depth = g.depth_limit > 0 ? g.depth_limit : blocked ? kDepth : g.k;
  return {pack_a, pack_b, blocked ? std::min(kRows, g.m) : g.m, blocked ? std::min(kColumns, g.n) : g.n,
          std::min(depth, g.k)};
}

// Sizes in floats of the three parts of a thread's scratch.
struct Buffers {
  std::int64_t edge, a, b;
  std::int64_t total() const { return edge + a + b; }
};

Buffers buffers_of(const Blocking& blocking) {
  const std::int64_t width = kMaxTileVectors * kLanes;
  const std::int64_t columns = (blocking.columns + width - 1) / width * width;
  return {kEdgeFloats, blocking.pack_a ? (blocking.rows + kMaxTileRows) * blocking.depth : 0,
          (blocking.pack_b ? columns : width) * blocking.depth};
}

// One thread's block of C.
class Block {
 public:
  Block(const Gemm& g, const Blocking& blocking, Range rows, Range columns, float* scratch)
      : g_(g), blocking_(blocking), rows_(rows), columns_(columns), edge_(scratch) {
    const Buffers sizes = buffers_of(blocking);
    packed_a_ = edge_ + sizes.edge;
    packed_b_ = packed_a_ + sizes.a;
  }

  void multiply() {
    if (rows_.size() == 0 || columns_.size() == 0) return;
    const std::int64_t depth = std::max<std::int64_t>(blocking_.depth, 1);
    for (std::int64_t j = columns_.begin; j < columns_.end; j += blocking_.columns) {
      const Range columns = {j, std::min(columns_.end, j + blocking_.columns)};
      for (std::int64_t t = 0; t == 0 || t < g_.k; t += depth) multiply_depth(columns, {t, std::min(g_.k, t + depth)});
    }
  }

 private:
  void multiply_depth(Range columns, Range depth) {
    if (blocking_.pack_b) pack_b(columns, depth);
    for (std::int64_t i = rows_.begin; i < rows_.end; i += blocking_.rows) {
      const Range rows = {i, std::min(rows_.end, i + blocking_.rows)};
      if (blocking_.pack_a) pack_a(rows, depth);
      Ahead ahead = after(rows, columns, depth);
      std::int64_t packed = 0;
      for (std::int64_t j = columns.begin; j < columns.end;) {
        const int vectors = panel_vectors(rows_.size(), columns.end - j);
        const std::int64_t width = vectors * kLanes;
        multiply_panel_at(rows, j, std::min(width, columns.end - j), vectors, depth, packed_b_ + packed, ahead);
        packed += width * depth.size();
        j += width;
      }
    }
  }

  void pack_b(Range columns, Range depth) {
    float* to = packed_b_;
    for (std::int64_t j = columns.begin; j < columns.end;) {
      const std::int64_t width = panel_vectors(rows_.size(), columns.end - j) * kLanes;
      const std::int64_t count = std::min(width, columns.end - j);
      if (g_.b_transposed)
        pack_transposed(g_.b + j * g_.ldb + depth.begin, g_.ldb, depth.size(), count, width, to);
      else
        pack_columns(g_.b + depth.begin * g_.ldb + j, g_.ldb, depth.size(), count, width, to);
      to += width * depth.size();
      j += width;
    }
  }

  // A's block, tile by tile, each as [depth, tile rows]: what one step of a tile broadcasts lies side by side.
  void pack_a(Range rows, Range depth) {
    const std::int64_t height = tile_rows(rows.size(), 2);
    float* to = packed_a_;
    for (std::int64_t i = rows.begin; i < rows.end; i += height, to += height * depth.size()) {
      const std::int64_t count = std::min(height, rows.end - i);
      if (g_.a_transposed)
        pack_columns(g_.a + depth.begin * g_.lda + i, g_.lda, depth.size(), count, height, to);
      else
        pack_transposed(g_.a + i * g_.lda + depth.begin, g_.lda, depth.size(), count, height, to);
    }
  }

  void multiply_panel_at(Range rows, std::int64_t j, std::int64_t count, int vectors, Range depth, float* packed,
                         Ahead& ahead) {
    const bool first = depth.begin == 0, last = depth.end == g_.k;
    const Segment segment = {0, 0, depth.size()};
    Panel panel = {};
    panel.vectors = vectors;
    panel.columns = count;
    panel.tile.segments = &segment;
    panel.tile.segment_count = 1;
    if (blocking_.pack_b || count < vectors * kLanes) {
      if (!blocking_.pack_b)
        pack_columns(g_.b + depth.begin * g_.ldb + j, g_.ldb, depth.size(), count, vectors * kLanes,
                     packed = packed_b_);
      panel.tile.b = packed;
      panel.tile.ldb = vectors * kLanes;
    } else {
      panel.tile.b = g_.b + depth.begin * g_.ldb + j;
      panel.tile.ldb = g_.ldb;
    }
    panel.tile.c = g_.c + j;
    panel.tile.bias = first && g_.epilogue.bias != nullptr ? g_.epilogue.bias + j : nullptr;
    panel.tile.accumulate = g_.accumulate || !first;
    panel.activation = last ? g_.epilogue.activation : Activation::linear;
    panel.alpha = g_.epilogue.alpha;
    panel.z = last && g_.epilogue.z != nullptr ? g_.epilogue.z + j : nullptr;
    if (g_.epilogue.z != nullptr && !last) panel.tile.c = g_.epilogue.z + j;  // partial sums wait in z
    panel.ahead = &ahead;
    run_rows(panel, rows, depth);
  }

  // The parts of A, B and C that the block after this one takes from memory; what isn't (nearly) contiguous is left
  // out.
  Ahead after(Range rows, Range columns, Range depth) const {
    const auto contiguous = [](std::int64_t ld, std::int64_t used) { return ld <= used + used / 8; };
    Ahead ahead;
    const std::int64_t next_rows = std::min(rows.size(), rows_.end - rows.end);
    if (!g_.a_transposed && contiguous(g_.lda, depth.size()))
      ahead.to_read.add(g_.a + rows.end * g_.lda, next_rows * g_.lda);
    if (depth.end == g_.k && contiguous(g_.ldc, columns.size()))
      ahead.to_write.add(g_.c + rows.end * g_.ldc, next_rows * g_.ldc);
    // Of the next rows of B, and of A where its rows run along k too, each block of rows of C fetches its share.
    const auto next_depth = [&](const float* matrix, std::int64_t ld) {
      const std::int64_t floats = std::min(depth.size(), g_.k - depth.end) * ld;
      const std::int64_t begin = (rows.begin - rows_.begin) * floats / rows_.size();
      ahead.to_read.add(matrix + depth.end * ld + begin, (rows.end - rows_.begin) * floats / rows_.size() - begin);
    };
    if (g_.a_transposed && contiguous(g_.lda, rows_.size())) next_depth(g_.a, g_.lda);
    if (!g_.b_transposed && contiguous(g_.ldb, columns_.size())) next_depth(g_.b, g_.ldb);
    const std::int64_t height = tile_rows(rows.size(), 2), width = 2 * kLanes;
    const std::int64_t tiles = (rows.size() + height - 1) / height * ((columns.size() + width - 1) / width);
    ahead.to_read.share_out(tiles, depth.size());
    ahead.to_write.share_out(tiles, depth.size());
    return ahead;
  }

  void run_rows(Panel& panel, Range rows, Range depth) {
    const std::int64_t ldc = g_.ldc, first = rows.begin;
    if (blocking_.pack_a) {
      const std::int64_t height = tile_rows(rows.size(), 2), tile_size = height * depth.size();
      panel.tile.a = packed_a_;
      panel.tile.a_step = height;
      multiply_panel(
          panel, rows,
          [=](std::int64_t i, std::int64_t& a, std::int64_t& c) {
            a = (i - first) / height * tile_size + (i - first) % height;
            c = i * ldc;
          },
          edge_);
    } else {
      const std::int64_t row_step = g_.a_transposed ? 1 : g_.lda, depth_step = g_.a_transposed ? g_.lda : 1;
      panel.tile.a = g_.a + first * row_step + depth.begin * depth_step;
      panel.tile.a_step = depth_step;
      multiply_panel(
          panel, rows,
          [=](std::int64_t i, std::int64_t& a, std::int64_t& c) {
            a = (i - first) * row_step;
            c = i * ldc;
          },
          edge_);
    }
  }

  const Gemm& g_;
  const Blocking& blocking_;
  const Range rows_, columns_;
  float* edge_;
  float* packed_a_;
  float* packed_b_;
};

}  // namespace

Scratch Gemm::scratch(int) const {
  return {0, static_cast<std::size_t>(buffers_of(blocking_of(*this)).total()) * sizeof(float)};
}

void Gemm::multiply(Range rows, Range columns, float* scratch) const {
  if (m != 1 || b_transposed) return multiply_tiles(rows, columns, scratch);
  if (rows.size() == 1) multiply_row(*this, columns);
}

void Gemm::multiply_tiles(Range rows, Range columns, float* scratch) const {
  const Blocking blocking = blocking_of(*this);
  Block(*this, blocking, rows, columns, scratch).multiply();
}

std::int64_t Gemm::depth() const { return blocking_of(*this).depth; }

void Gemm::operator()(const Worker& worker) const {
  if (m == 1 && !b_transposed) return multiply_row(*this, share(n, worker.rank, worker.size, 2 * kLanes));
  const Split split = split_of(*this, worker.size);
  if (worker.rank >= split.m * split.n) return;
  const Range rows = share(m, worker.rank % split.m, split.m);
  const Range columns = share(n, worker.rank / split.m, split.n, 2 * kLanes);
  multiply(rows, columns, worker.scratch<float>());
}

}  // namespace fnn::cpu
