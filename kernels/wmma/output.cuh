// From accumulators to rows of the output, through shared memory, for a lane holds 4 bytes here and there of rows that
// are best written 16 bytes at a time.
#ifndef KERNEL_GATE_WMMA_OUTPUT_CUH
#define KERNEL_GATE_WMMA_OUTPUT_CUH

#include "shape.cuh"
#include "softmax.cuh"

namespace wmma {

// One head's rows of the output.
struct OutRows {
  uint16_t* first;
  int64_t stride;
  int count;
};

template <bool aligned>
__device__ __forceinline__ void store_chunk(const OutRows& out, int row, int chunk, uint4 value) {
  if (row >= out.count) return;
  uint16_t* to = out.first + row * out.stride + chunk * chunk_elements;
  if (aligned) {
    *reinterpret_cast<uint4*>(to) = value;
    return;
  }
  const uint32_t pairs[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
  for (int i = 0; i < chunk_elements; ++i) to[i] = static_cast<uint16_t>(pairs[i / 2] >> (i % 2 * 16));
}

// Where the warp has its rows to itself. `shared` is where its queries were: nobody else reads or writes there.
template <typename Element, bool aligned, int tiles, int columns, int head_dim>
__device__ __forceinline__ void store_rows(unsigned char* shared, const OutRows& out, int first, int lane,
                                           Attended<tiles, columns, head_dim>& attended) {
  using Map = Layout<head_dim>;
  attended.finish_totals();
  __syncwarp();
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = __fdividef(1.0f, attended.total[tile][half]);
      const int row = tile * mma_rows + half * 8 + lane / 4;
#pragma unroll
      for (int chunk = 0; chunk < Map::chunks; ++chunk) {
        const float* pair = attended.out[tile][chunk] + 2 * half;
        *reinterpret_cast<uint32_t*>(shared + Map::at(row, chunk) + lane % 4 * 4) =
            pack(Element(), pair[0] * factor, pair[1] * factor);
      }
    }
  __syncwarp();
#pragma unroll
  for (int i = lane; i < tiles * mma_rows * Map::chunks; i += warp_lanes) {
    const int row = i / Map::chunks, chunk = i % Map::chunks;
    store_chunk<aligned>(out, first + row, chunk, *reinterpret_cast<const uint4*>(shared + Map::at(row, chunk)));
  }
}

// The parts of a block whose warps divided the keys: rows of each group of keys, and with each row its reference and total.
template <typename Shape, int head_dim>
struct Parts {
  static constexpr int stride = Memory<Shape, head_dim>::part_row;
  float *out, *reference, *total;

  __device__ __forceinline__ explicit Parts(unsigned char* shared)
      : out(reinterpret_cast<float*>(shared)),
        reference(out + Memory<Shape, head_dim>::parts * stride),
        total(reference + Memory<Shape, head_dim>::parts) {}

  template <int tiles, int columns>
  __device__ __forceinline__ void put(int first, int lane, Attended<tiles, columns, head_dim>& attended) {
    attended.finish_totals();
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = first + tile * mma_rows + half * 8 + lane / 4;
#pragma unroll
        for (int n = 0; n < head_dim / 8; ++n)
          *reinterpret_cast<float2*>(out + row * stride + n * 8 + lane % 4 * 2) =
              make_float2(attended.out[tile][n][2 * half], attended.out[tile][n][2 * half + 1]);
        reference[row] = attended.reference[tile][half];
        total[row] = attended.total[tile][half];
      }
  }

  // A chunk of one row over all groups. A group that saw no key of it has the lowest reference, and weight 0.
  template <typename Element>
  __device__ __forceinline__ uint4 sum(int row, int chunk) const {
    float highest = reference[row];
#pragma unroll
    for (int group = 1; group < Shape::key_groups; ++group)
      highest = fmaxf(highest, reference[group * Shape::block_m + row]);
    float sums[chunk_elements] = {}, weights = 0;
#pragma unroll
    for (int group = 0; group < Shape::key_groups; ++group) {
      const int part = group * Shape::block_m + row;
      const float factor = exp2_fast(reference[part] - highest);
      weights += factor * total[part];
      const float4* from = reinterpret_cast<const float4*>(out + part * stride + chunk * chunk_elements);
      const float4 low = from[0], high = from[1];
      const float each[chunk_elements] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int i = 0; i < chunk_elements; ++i) sums[i] += factor * each[i];
    }
    const float factor = __fdividef(1.0f, weights);
    const auto pair = [&](int i) { return pack(Element(), sums[2 * i] * factor, sums[2 * i + 1] * factor); };
    return make_uint4(pair(0), pair(1), pair(2), pair(3));
  }

  template <typename Element, bool aligned>
  __device__ __forceinline__ void store(const OutRows& to, int first, int thread) const {
    constexpr int chunks = Layout<head_dim>::chunks;
    for (int i = thread; i < Shape::block_m * chunks; i += Shape::threads)
      store_chunk<aligned>(to, first + i / chunks, i % chunks, sum<Element>(i / chunks, i % chunks));
  }
};

}  // namespace wmma
#endif
