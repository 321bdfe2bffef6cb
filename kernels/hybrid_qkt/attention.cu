// The first hybrid: scores by cuBLAS, softmax and the second product fused in a kernel of our own.
//
// Since cublas: weights never reach memory. A warp turns 16 x 64 scores into weights in shared memory and multiplies
// them with V on tensor cores at once, through the warp-level API nvcuda::wmma. Nor is there an online softmax: the
// scores lie in memory, so one sweep finds each row's maximum, and a second one finds its scores in L2. Accumulators
// are then never rescaled, which that API, whose registers have no known owner, could not express.
//
// Bottleneck: the bytes of the scores, written once and read twice.
//
// Floor for B,H,S,D = 32,8,512,64 in float16 on an H200:
//   scores    B H S^2 = 67.1 M: 4 bytes written and 4 read, 537 MB, at 4.8 TB/s from HBM = 112 us;
//             what a chunk leaves in L2 costs less
//   products  4 B H S^2 D = 17.2 GFLOP, at 990 TFLOP/s dense                             =  17 us
//   exp2      B H S^2 at 16 a clock on each of 132 multiprocessors at 1.83 GHz           =  17 us
//   launches  2 a chunk, one after the other, at about 2 us                              =  32 us for 8 chunks
//
// Run: kernel-gate run --impl hybrid_qkt --shape 32,8,512,64
//
// Tried and failed:
//   scores in half precision    half the bytes, and wrong: 2.5 times SDPA's error on normal inputs of 512 keys, and 38
//                               times on large logits, where twice that of SDPA is allowed
#include "cublas_scores.h"
#include "score_tile.cuh"

namespace {

namespace wmma = nvcuda::wmma;
using namespace ladder;

// Pitches keep the rows of a fragment on different banks, and fragments at multiples of 32 bytes.
template <typename T, int head_dim>
union Shared {
  static constexpr int v_pitch = head_dim + 8, weight_pitch = block_keys + 8, out_pitch = head_dim + 4;
  struct {
    T v[block_keys * v_pitch];
    T weights[NUM_WARPS][warp_rows * weight_pitch];
  };
  float out[NUM_WARPS][warp_rows * out_pitch];
};

// A warp's 16 rows of scores. Rows that do not exist repeat the last one, and are not stored.
struct WarpRows {
  const float* scores;
  int64_t pitch;
  int first, count;  // in the head; how many rows exist
  int keys;
  bool causal;

  __device__ const float* row(int r) const { return scores + min(r, count - 1) * pitch; }
  __device__ int visible(int r) const { return causal ? min(first + r + 1, keys) : keys; }
};

// By head and by tile of rows, from scores of whole chunks.
struct Scores {
  const float* data;
  int64_t pitch;
  Chunk chunk;
  int tiles;
};

// Each row's maximum, in every lane.
__device__ void find_maxima(float (&maximum)[warp_rows], const WarpRows& rows) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) maximum[r] = -INFINITY;
  for (int column = 4 * lane; column < rows.keys; column += 128)
#pragma unroll
    for (int r = 0; r < warp_rows; ++r)
      maximum[r] = fmaxf(maximum[r], max_of(load_visible(rows.row(r), column, rows.visible(r))));
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) maximum[r] = group_max(maximum[r]) * log2_e;
}

// The weights of 64 keys from `key` on, unnormalised, into shared memory; their sums onto `total`.
template <typename T, int pitch>
__device__ void weigh(T* weights, float (&total)[warp_rows / 2], const float (&maximum)[warp_rows / 2],
                      const WarpRows& rows, int key) {
  const Lane lane;
#pragma unroll
  for (int i = 0; i < warp_rows / 2; ++i) {
    const int r = lane.row(i);
    const Pack<float, 4> x = load_visible(rows.row(r), key + lane.column, rows.visible(r));
    Pack<T, 4> pack;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float weight = exp2_approx(x.x[j] * log2_e - maximum[i]);
      total[i] += weight;
      pack.x[j] = from_float<T>(weight);
    }
    store(weights + r * pitch + lane.column, pack, true);
  }
}

template <typename T, int head_dim>
struct Accumulators {
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> tile[head_dim / 16];

  __device__ Accumulators() {
    for (auto& each : tile) wmma::fill_fragment(each, 0.0f);
  }

  __device__ void add(const T* weights, int weight_pitch, const T* v, int v_pitch) {
#pragma unroll
    for (int key = 0; key < block_keys; key += 16) {
      wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> a;
      wmma::load_matrix_sync(a, weights + key, weight_pitch);
#pragma unroll
      for (int d = 0; d < head_dim / 16; ++d) {
        wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::row_major> b;
        wmma::load_matrix_sync(b, v + key * v_pitch + d * 16, v_pitch);
        wmma::mma_sync(tile[d], a, b, tile[d]);
      }
    }
  }

  __device__ void store(float* out, int pitch) const {
#pragma unroll
    for (int d = 0; d < head_dim / 16; ++d)
      wmma::store_matrix_sync(out + d * 16, tile[d], pitch, wmma::mem_row_major);
  }
};

// Normalises a warp's rows on their way from shared memory to the output.
template <typename T, int head_dim>
__device__ void store_out(T* out, int64_t row_stride, const float* from, int pitch, int count, bool aligned,
                          const float (&total)[warp_rows / 2]) {
  const int half = threadIdx.x % 32 / 16, lane = threadIdx.x % 16;
  constexpr int width = head_dim / 16 < 4 ? head_dim / 16 : 4;
#pragma unroll
  for (int i = 0; i < warp_rows / 2; ++i) {
    const int r = half + 2 * i;
    const float inverse = 1.0f / group_sum<16>(total[i]);
    if (r >= count) continue;
#pragma unroll
    for (int column = lane * width; column < head_dim; column += 16 * width) {
      Pack<T, width> pack;
#pragma unroll
      for (int j = 0; j < width; ++j) pack.x[j] = from_float<T>(from[r * pitch + column + j] * inverse);
      store(out + r * row_stride + column, pack, aligned);
    }
  }
}

template <typename T, int head_dim>
__global__ void __launch_bounds__(threads) weigh_values(Problem<T> problem, Scores scores) {
  using Memory = Shared<T, head_dim>;
  __shared__ __align__(32) unsigned char memory[sizeof(Memory)];
  Memory& shared = *reinterpret_cast<Memory*>(memory);

  const int warp = threadIdx.x / 32, half = threadIdx.x % 32 / 16;
  const int64_t n = blockIdx.x / scores.tiles, head = scores.chunk.first_head + n;
  // A block's rows and a warp's, within the chunk.
  const int block_row = blockIdx.x % scores.tiles * block_rows, chunk_rows = int(scores.chunk.rows);
  const int row = block_row + warp * warp_rows, first = int(scores.chunk.first_row) + row;
  const int exist = min(warp_rows, chunk_rows - row), start = min(row, chunk_rows - 1);
  const int last_row = int(scores.chunk.first_row) + min(block_row + block_rows, chunk_rows);
  const int keys = problem.causal ? last_row : problem.seq_len;
  const WarpRows rows{scores.data + (n * chunk_rows + start) * scores.pitch, scores.pitch, first,
                      max(exist, 1), keys, problem.causal};

  float maxima[warp_rows], maximum[warp_rows / 2], total[warp_rows / 2] = {};
  find_maxima(maxima, rows);
#pragma unroll
  for (int i = 0; i < warp_rows / 2; ++i) maximum[i] = half ? maxima[2 * i + 1] : maxima[2 * i];

  Accumulators<T, head_dim> acc;
  const T* v = problem.v.head(head, problem.heads);
  for (int key = 0; key < keys; key += block_keys) {
    __syncthreads();
    load_tile<block_keys, head_dim, Memory::v_pitch, threads>(
        shared.v, v + key * problem.v.row_stride, problem.v.row_stride, keys - key, problem.v.aligned);
    weigh<T, Memory::weight_pitch>(shared.weights[warp], total, maximum, rows, key);
    __syncthreads();
    acc.add(shared.weights[warp], Memory::weight_pitch, shared.v, Memory::v_pitch);
  }
  __syncthreads();  // the output takes the place of V and the weights
  acc.store(shared.out[warp], Memory::out_pitch);
  __syncwarp();
  T* out = problem.out.head(head, problem.heads) + first * problem.out.row_stride;
  store_out<T, head_dim>(out, problem.out.row_stride, shared.out[warp], Memory::out_pitch, exist,
                         problem.out.aligned, total);
}

template <typename T, int head_dim>
int attend(const attention_args& args, Cublas& cublas, const Chunk& chunk, const ChunkSize& size, void* memory) {
  const int status = multiply_scores(args, cublas, chunk, size, memory);
  if (status != ATTENTION_OK) return status;
  const int tiles = row_tiles(chunk);
  weigh_values<T, head_dim><<<unsigned(chunk.heads * tiles), threads, 0, stream_of(args)>>>(
      Problem<T>(args), Scores{static_cast<const float*>(memory), size.pitch, chunk, tiles});
  return launch_status();
}

}  // namespace

size_t attention_workspace_bytes(const attention_args* args) {
  return ladder::SplitWorkspace::bytes(ladder::scores_size(*args));
}

int attention(const attention_args* args) {
  return ladder::for_each_half_chunk(*args, ladder::scores_size(*args), [](auto type, auto head_dim, auto&&... chunk) {
    return attend<typename decltype(type)::type, head_dim()>(chunk...);
  });
}
