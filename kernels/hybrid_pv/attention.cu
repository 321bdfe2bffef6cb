// The second hybrid: scores and softmax in a kernel of our own, the second product by cuBLAS.
//
// Since hybrid_qkt: the scores never reach memory, only weights do, in half precision: a quarter of the bytes. A row's
// weights need its sum over all keys, and nothing holds the scores until that is known. So they are computed twice: a
// first sweep over the keys keeps each row's maximum and sum, a second one writes normalised weights. On tensor cores
// scores are cheaper to compute again than to store.
//
// Bottleneck: the softmax's instructions, for every score passes through shared memory and exp2 in both sweeps (the
// registers of nvcuda::wmma have no known owner), and then the bytes of the weights.
//
// Floor for B,H,S,D = 32,8,512,64 in float16 on an H200 (132 multiprocessors at 1.83 GHz):
//   weights   B H S^2 = 67.1 M: 2 bytes written and 2 read, 268 MB, at 4.8 TB/s from HBM  = 56 us;
//             what a chunk leaves in L2 costs less
//   exp2      2.25 a score, at 16 a clock                                                 = 39 us
//   shared    4 bytes a score, written and read, twice, at 128 bytes a clock              = 35 us
//   products  6 B H S^2 D = 25.8 GFLOP, at 990 TFLOP/s dense                              = 26 us
//   launches  2 a chunk, one after the other, at about 2 us                               = 16 us for 4 chunks
//
// Run: kernel-gate run --impl hybrid_pv --shape 32,8,512,64
//
// Tried and failed:
//   weights unnormalised, divided after the product    one sweep for the maximum is needed all the same, and cuBLAS
//                                                      rounds its result to half precision before the division
#include "score_tile.cuh"

namespace {

namespace wmma = nvcuda::wmma;
using namespace ladder;

// Pitches keep the rows of a fragment on different banks, and fragments at multiples of 32 bytes. Queries move to
// registers before the first scores take their place.
template <typename T, int head_dim>
struct Shared {
  static constexpr int pitch = head_dim + 8, score_pitch = block_keys + 4;
  T k[block_keys * pitch];
  union {
    T q[block_rows * pitch];
    float scores[NUM_WARPS][warp_rows * score_pitch];
  };
};

// One warp's 16 queries, as operands of the tensor cores.
template <typename T, int head_dim>
struct Queries {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> tile[head_dim / 16];

  __device__ Queries(const T* q, int pitch) {
#pragma unroll
    for (int d = 0; d < head_dim / 16; ++d) wmma::load_matrix_sync(tile[d], q + d * 16, pitch);
  }

  // 16 x 64 scores into shared memory, from 64 rows of K.
  __device__ void score(float* scores, int score_pitch, const T* k, int pitch) const {
#pragma unroll
    for (int key = 0; key < block_keys; key += 16) {
      wmma::fragment<wmma::accumulator, 16, 16, 16, float> acc;
      wmma::fill_fragment(acc, 0.0f);
#pragma unroll
      for (int d = 0; d < head_dim / 16; ++d) {
        wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::col_major> b;
        wmma::load_matrix_sync(b, k + key * pitch + d * 16, pitch);
        wmma::mma_sync(acc, tile[d], b, acc);
      }
      wmma::store_matrix_sync(scores + key, acc, score_pitch, wmma::mem_row_major);
    }
    __syncwarp();
  }
};

// A lane's scores in its row `i` of a warp's tile, in units of log2; -inf from key `visible` on.
__device__ Pack<float, 4> scores_of(const Lane& lane, const float* tile, int pitch, int i, float scale_log2,
                                    int visible) {
  Pack<float, 4> x = load<4>(tile + lane.row(i) * pitch + lane.column, true);
#pragma unroll
  for (int j = 0; j < 4; ++j) x.x[j] = lane.column + j < visible ? x.x[j] * scale_log2 : -INFINITY;
  return x;
}

// Where one block works: rows of one head of the chunk.
struct Tile {
  int64_t head;    // of the whole batch
  int64_t weights; // where the block's first row of weights begins
  int first;       // row in the head
  int rows;        // how many exist
  int keys;        // how many some row sees
};

struct Weights {
  void* data;
  int64_t pitch;
  Chunk chunk;
  int tiles, columns;

  __device__ Tile tile(bool causal) const {
    const int64_t n = blockIdx.x / tiles;
    const int row = blockIdx.x % tiles * block_rows, rows = min(block_rows, int(chunk.rows) - row);
    const int first = int(chunk.first_row) + row;
    return {chunk.first_head + n, (n * chunk.rows + row) * pitch, first, rows, causal ? first + rows : columns};
  }
};

template <typename T>
__device__ void store_weights(T* to, const Pack<float, 4>& x, float maximum, float factor) {
  Pack<T, 4> pack;
#pragma unroll
  for (int j = 0; j < 4; ++j) pack.x[j] = from_float<T>(exp2_approx(x.x[j] - maximum) * factor);
  store(to, pack, true);
}

template <typename T, int head_dim>
__global__ void __launch_bounds__(threads) weigh_keys(Problem<T> problem, Weights weights) {
  using Memory = Shared<T, head_dim>;
  __shared__ __align__(32) unsigned char memory[sizeof(Memory)];
  Memory& shared = *reinterpret_cast<Memory*>(memory);

  const Tile tile = weights.tile(problem.causal);
  const int warp = threadIdx.x / 32, warp_row = warp * warp_rows;
  const Lane lane;
  const auto visible = [&](int i) { return problem.causal ? tile.first + warp_row + lane.row(i) + 1 : tile.keys; };
  const auto load_keys = [&](int key) {
    const T* k = problem.k.head(tile.head, problem.heads) + key * problem.k.row_stride;
    __syncthreads();
    load_tile<block_keys, head_dim, Memory::pitch, threads>(shared.k, k, problem.k.row_stride,
                                                                    tile.keys - key, problem.k.aligned);
    __syncthreads();
  };

  const T* q = problem.q.head(tile.head, problem.heads) + tile.first * problem.q.row_stride;
  load_tile<block_rows, head_dim, Memory::pitch, threads>(shared.q, q, problem.q.row_stride, tile.rows,
                                                                  problem.q.aligned);
  __syncthreads();
  const Queries<T, head_dim> queries(shared.q + warp_row * Memory::pitch, Memory::pitch);

  float* scores = shared.scores[warp];
  Statistics statistics[warp_rows / 2];
  for (int key = 0; key < tile.keys; key += block_keys) {
    load_keys(key);
    queries.score(scores, Memory::score_pitch, shared.k, Memory::pitch);
#pragma unroll
    for (int i = 0; i < warp_rows / 2; ++i)
      statistics[i].add(scores_of(lane, scores, Memory::score_pitch, i, problem.scale_log2, visible(i) - key));
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < warp_rows / 2; ++i) {
    statistics[i].template merge<16>();
    statistics[i].total = weight_unit<T> / statistics[i].total;  // from here on, the factor
  }

  T* out = static_cast<T*>(weights.data) + tile.weights + warp_row * weights.pitch + lane.column;
  for (int key = 0; key < weights.columns; key += block_keys) {
    if (key < tile.keys) {
      load_keys(key);
      queries.score(scores, Memory::score_pitch, shared.k, Memory::pitch);
    }
#pragma unroll
    for (int i = 0; i < warp_rows / 2; ++i)
      if (warp_row + lane.row(i) < tile.rows && key + lane.column < weights.columns)
        store_weights(out + lane.row(i) * weights.pitch + key,
                      scores_of(lane, scores, Memory::score_pitch, i, problem.scale_log2, visible(i) - key),
                      statistics[i].maximum, statistics[i].total);
    __syncwarp();
  }
}

ChunkSize weights_size(const attention_args& args) { return chunk_size(args, 2, CHUNK_MIB << 20); }

template <typename T, int head_dim>
int attend(const attention_args& args, Cublas& cublas, const Chunk& chunk, const ChunkSize& size, void* memory) {
  const int tiles = row_tiles(chunk);
  const int64_t keys = visible_keys(args, chunk);
  weigh_keys<T, head_dim><<<unsigned(chunk.heads * tiles), threads, 0, stream_of(args)>>>(
      Problem<T>(args), Weights{memory, size.pitch, chunk, tiles, int(keys)});
  const int status = launch_status();
  if (status != ATTENTION_OK) return status;
  const Cublas::Matrices weights{memory, cuda_type(args), size.pitch, chunk.rows * size.pitch};
  return cublas.multiply(1.0f / weight_unit<T>, weights,
                         heads_of(args, args.v, args.v_stride, chunk, 0), false,
                         heads_of(args, args.out, args.out_stride, chunk, chunk.first_row), chunk.rows,
                         args.head_dim, keys, chunk.heads);
}

}  // namespace

size_t attention_workspace_bytes(const attention_args* args) {
  return ladder::SplitWorkspace::bytes(weights_size(*args));
}

int attention(const attention_args* args) {
  return ladder::for_each_half_chunk(*args, weights_size(*args), [](auto type, auto head_dim, auto&&... chunk) {
    return attend<typename decltype(type)::type, head_dim()>(chunk...);
  });
}
