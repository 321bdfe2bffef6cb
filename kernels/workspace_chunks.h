// Divides the work of kernels that keep scores or weights in memory into chunks of heads, or of rows of one head: the
// workspace stays small, and most of it stays in the L2 cache between one kernel and the next.
#ifndef KERNEL_GATE_WORKSPACE_CHUNKS_H
#define KERNEL_GATE_WORKSPACE_CHUNKS_H

#include <algorithm>

#include "attention.h"

namespace ladder {

inline int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

// All heads of the batch are counted through. Row i of the chunk's head n is at element (n * rows + i) * pitch.
struct Chunk {
  int64_t first_head, heads, first_row, rows;
};

// The largest chunk, of elements of so many bytes.
struct ChunkSize {
  int64_t heads, rows, pitch;
  int element_bytes;

  size_t bytes() const { return size_t(heads * rows * pitch) * element_bytes; }
};

// Chunks of equal size, in at most `budget` bytes (or one row, where that is more). Rows begin at multiples of
// eight elements, which keeps loads of 16 bytes aligned.
inline ChunkSize chunk_size(const attention_args& args, int element_bytes, int64_t budget) {
  const int64_t pitch = round_up(args.seq_len, 8), row_bytes = pitch * element_bytes;
  const int64_t all_heads = args.batch * args.heads;
  const auto share = [](int64_t all, int64_t most) {  // equal parts, each at most `most`
    const int64_t parts = (all + most - 1) / most;
    return (all + parts - 1) / parts;
  };
  const int64_t rows = share(args.seq_len, std::max<int64_t>(1, budget / row_bytes));
  const int64_t heads = rows < args.seq_len ? 1 : share(all_heads, std::max<int64_t>(1, budget / (rows * row_bytes)));
  return {heads, rows, pitch, element_bytes};
}

// Whether one stride leads from each head to the next through the whole batch.
inline bool evenly_spaced(const attention_args& args, const int64_t* stride) {
  return args.batch == 1 || args.heads == 1 || stride[0] == args.heads * stride[1];
}

// From one head to the next, within a chunk.
inline int64_t head_stride(const attention_args& args, const int64_t* stride) {
  return args.heads == 1 ? stride[0] : stride[1];
}

// Where a row of a head begins, in elements.
inline int64_t offset_of(const attention_args& args, const int64_t* stride, int64_t head, int64_t row) {
  return head / args.heads * stride[0] + head % args.heads * stride[1] + row * stride[2];
}

// The keys that some row of the chunk sees.
inline int64_t visible_keys(const attention_args& args, const Chunk& chunk) {
  return args.causal ? chunk.first_row + chunk.rows : args.seq_len;
}

// Calls visit(chunk) until one does not return ATTENTION_OK. Chunks do not reach from one batch into the next
// where heads are not evenly spaced.
template <typename Visit>
int for_each_chunk(const attention_args& args, const ChunkSize& size, Visit visit) {
  const bool even = evenly_spaced(args, args.q_stride) && evenly_spaced(args, args.k_stride) &&
                    evenly_spaced(args, args.v_stride) && evenly_spaced(args, args.out_stride);
  const int64_t all_heads = args.batch * args.heads, reach = even ? all_heads : args.heads;
  for (int64_t head = 0, heads; head < all_heads; head += heads) {
    heads = std::min(size.heads, reach - head % reach);
    for (int64_t row = 0; row < args.seq_len; row += size.rows) {
      const int status = visit(Chunk{head, heads, row, std::min(size.rows, args.seq_len - row)});
      if (status != ATTENTION_OK) return status;
    }
  }
  return ATTENTION_OK;
}

}  // namespace ladder

#endif
