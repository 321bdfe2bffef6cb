// The tensor-algebra rung: both products as contractions of named modes by cuTENSOR, and our softmax between them.
//
// Since cublas: no transposes, no pitches, no batch loop; a product is said as it is written on paper,
//   scores[j,i,n] = q[d,i,n] k[d,j,n]      out[d,i,n] = weights[j,i,n] v[d,j,n]
// cuTENSOR has no contraction of half-precision inputs to a float32 result, and scores need float32. So q and k are
// first widened to float32, and multiplied as TensorFloat-32: its 10 bits of mantissa hold both float16 and bfloat16
// exactly, and the sums are float32.
//
// Bottleneck: the bytes of the score matrix, as in cublas, and those of the wide copies.
//
// Floor for B,H,S,D = 32,8,512,64 in float16 on an H200:
//   products  2 B H S^2 D = 8.6 GFLOP, at 495 TFLOP/s dense in TF32, and as many at 990  =  26 us
//   scores    B H S^2 = 67.1 M, 12 bytes each = 805 MB, at 4.8 TB/s from HBM             = 168 us
//   copies    2 B H S D = 16.8 M: 2 bytes read, 4 written, 4 read = 168 MB               =  35 us
//   launches  5 a chunk, one after the other, at about 2 us                              =  80 us for 8 chunks
//
// Run: python -m pip install cutensor-cu13    (cutensor-cu12 beside a torch built for CUDA 12)
//      kernel-gate run --impl cutensor --shape 32,8,512,64
//
// Tried and failed:
//   contraction of half-precision inputs    its result is half precision too: 38 times SDPA's error on large logits
#include <algorithm>

#include "cutensor_api.h"
#include "softmax.cuh"
#include "tensor_view.cuh"
#include "workspace_chunks.h"

#ifndef CHUNK_MIB
#define CHUNK_MIB 32
#endif

namespace {

using cutensor::Tensor;
using ladder::Chunk;
using ladder::ChunkSize;

constexpr uint64_t scratch_bytes = 32 << 20, alignment = 256;
constexpr int widen_threads = 256;

ChunkSize scores_size(const attention_args& args) { return ladder::chunk_size(args, sizeof(float), CHUNK_MIB << 20); }

// The caller's workspace: scratch memory for cuTENSOR, the chunk's scores, and its wide queries and keys.
struct Workspace {
  char *scratch, *scores, *q, *k, *end;

  Workspace(const attention_args& args, uintptr_t start) {
    const ChunkSize size = scores_size(args);
    const int64_t row_bytes = args.head_dim * sizeof(float);
    const auto after = [](char* part, int64_t bytes) { return part + ladder::round_up(bytes, alignment); };
    scratch = reinterpret_cast<char*>(ladder::round_up(start, alignment));
    scores = after(scratch, scratch_bytes);
    q = after(scores, size.bytes());
    k = after(q, size.heads * size.rows * row_bytes);
    end = after(k, size.heads * args.seq_len * row_bytes);
  }
};

// Rows of the chunk's heads, one after the other, as float32.
template <typename T>
__global__ void __launch_bounds__(widen_threads)
    widen_kernel(float* to, ladder::View<const T> from, Chunk chunk, int64_t heads, int head_dim) {
  const int64_t i = int64_t(blockIdx.x) * widen_threads + threadIdx.x;
  if (i >= chunk.heads * chunk.rows * head_dim) return;
  const int64_t row = i / head_dim, head = chunk.first_head + row / chunk.rows;
  const T* at = from.head(head, heads) + (chunk.first_row + row % chunk.rows) * from.row_stride;
  to[i] = ladder::to_float(at[i % head_dim]);
}

// The letter is the mode of its rows.
template <typename T>
Tensor widen(const attention_args& args, const ladder::View<const T>& from, const Chunk& chunk, char* to,
             char letter) {
  const int64_t count = chunk.heads * chunk.rows * args.head_dim;
  const unsigned blocks = unsigned((count + widen_threads - 1) / widen_threads);
  widen_kernel<<<blocks, widen_threads, 0, ladder::stream_of(args)>>>(
      reinterpret_cast<float*>(to), from, chunk, args.heads, int(args.head_dim));
  return {to, CUDA_R_32F, {'d', letter, 'n'}, {args.head_dim, chunk.rows, chunk.heads},
          {1, args.head_dim, chunk.rows * args.head_dim}};
}

// One of the caller's tensors, from row `row` of the chunk's first head on.
Tensor given(const attention_args& args, const void* data, const int64_t* stride, const Chunk& chunk, int64_t row,
             int64_t rows, char letter) {
  const int64_t offset = ladder::offset_of(args, stride, chunk.first_head, row) * 2;
  return {static_cast<char*>(const_cast<void*>(data)) + offset,
          args.dtype == ATTENTION_FLOAT16 ? CUDA_R_16F : CUDA_R_16BF, {'d', letter, 'n'},
          {args.head_dim, rows, chunk.heads}, {1, stride[2], ladder::head_stride(args, stride)}};
}

template <typename T>
int attend(const attention_args& args, cutensor::Library& library, const Chunk& chunk, const Workspace& memory) {
  const ladder::Problem<T> problem(args);
  const cudaStream_t stream = ladder::stream_of(args);
  const int64_t pitch = scores_size(args).pitch, keys = ladder::visible_keys(args, chunk);
  const Chunk all_keys{chunk.first_head, chunk.heads, 0, keys};

  const Tensor q = widen(args, problem.q, chunk, memory.q, 'i'), k = widen(args, problem.k, all_keys, memory.k, 'j');
  const Tensor v = given(args, args.v, args.v_stride, chunk, 0, keys, 'j');
  const Tensor out = given(args, args.out, args.out_stride, chunk, chunk.first_row, chunk.rows, 'i');
  const Tensor scores{memory.scores, CUDA_R_32F, {'j', 'i', 'n'}, {keys, chunk.rows, chunk.heads},
                      {1, pitch, pitch * chunk.rows}};
  Tensor weights = scores;  // in place, at twice the pitch
  weights.type = out.type;
  for (int64_t& stride : weights.strides) stride = stride == 1 ? 1 : 2 * stride;
  const ladder::ScoreRows rows{reinterpret_cast<float*>(memory.scores), chunk.heads * chunk.rows, pitch, chunk.rows,
                               chunk.first_row, int(keys), args.causal != 0};

  int status = ladder::launch_status();
  if (status == ATTENTION_OK)
    status = library.contract(args.scale, k, q, scores, memory.scratch, scratch_bytes, stream);
  if (status == ATTENTION_OK) status = ladder::enqueue_softmax<T>(rows, stream);
  if (status != ATTENTION_OK) return status;
  return library.contract(1.0f / ladder::weight_unit<T>, v, weights, out, memory.scratch, scratch_bytes, stream);
}

bool rows_apart(const attention_args& args) {
  return args.seq_len == 1 || std::min(args.v_stride[2], args.out_stride[2]) >= args.head_dim;
}

}  // namespace

size_t attention_workspace_bytes(const attention_args* args) {
  const uintptr_t start = 64;  // the caller aligns to no more than this
  return reinterpret_cast<uintptr_t>(Workspace(*args, start).end) - start;
}

int attention(const attention_args* args) {
  cutensor::Library* library = cutensor::Library::open();
  if (!library || !rows_apart(*args)) return ATTENTION_UNSUPPORTED;
  const Workspace memory(*args, reinterpret_cast<uintptr_t>(args->workspace));
  return ladder::with_half_type(*args, [&](auto type) {
    return ladder::for_each_chunk(*args, scores_size(*args), [&](const Chunk& chunk) {
      return attend<typename decltype(type)::type>(*args, *library, chunk, memory);
    });
  });
}
