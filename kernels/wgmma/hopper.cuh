// The instructions of Hopper (sm_90a) that CUDA C++ has no word for, each behind one function that bears its PTX name in its
// text (PTX ISA 8.0: sections 9.7.8.24 cp.async.bulk, 9.7.12.15 mbarrier, 9.7.14 wgmma).
#ifndef KERNEL_GATE_WGMMA_HOPPER_CUH
#define KERNEL_GATE_WGMMA_HOPPER_CUH

#include <cuda.h>

#include "../tensor_view.cuh"
#include "../type_dispatch.cuh"

namespace hopper {

constexpr int warp_lanes = 32, group_warps = 4, group_threads = 128;  // group: a warpgroup

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- Barriers in shared memory that count arrivals and bytes. A barrier begins in phase 0, and a phase ends when all
// arrivals and all bytes that were announced are in. `wait` returns once the phase of that parity has ended.

__device__ __forceinline__ void init_barrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes the barriers that this thread initialised known to the copy engine and to the other blocks of a cluster.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void arrive_and_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

#define HOPPER_WAIT(name, scope)                                                                                       \
  __device__ __forceinline__ void name(uint32_t barrier, uint32_t parity) {                                            \
    uint32_t ended;                                                                                                    \
    do {                                                                                                               \
      asm volatile("{\n.reg .pred ended;\nmbarrier.try_wait.parity.acquire." scope                                     \
                   ".shared::cta.b64 ended, [%1], %2;\nselp.u32 %0, 1, 0, ended;\n}"                                   \
                   : "=r"(ended)                                                                                       \
                   : "r"(barrier), "r"(parity)                                                                         \
                   : "memory");                                                                                        \
    } while (ended == 0);                                                                                              \
  }
HOPPER_WAIT(wait, "cta")
HOPPER_WAIT(wait_for_other_blocks, "cluster")  // sees what they stored too

// Registers that each thread of this warpgroup gives back to the multiprocessor, or takes.
template <int count>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

// A barrier of the block for `threads` threads, whole warps; barrier 0 is that of __syncthreads.
__device__ __forceinline__ void synchronize(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// --- Clusters: blocks that run at once and reach one another's shared memory.

__device__ __forceinline__ uint32_t rank_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// The same address in the shared memory of block `rank`.
__device__ __forceinline__ uint32_t address_in(uint32_t rank, uint32_t address) {
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

// Into the memory of another block of the cluster, whose barrier counts the bytes.
__device__ __forceinline__ void store_there(uint32_t to, uint32_t barrier, float a, float b, float c, float d) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%2, %3, %4, %5}, [%1];" ::"r"(to),
               "r"(barrier), "f"(a), "f"(b), "f"(c), "f"(d)
               : "memory");
}
__device__ __forceinline__ void store_there(uint32_t to, uint32_t barrier, float a, float b) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%2, %3}, [%1];" ::"r"(to), "r"(barrier),
               "f"(a), "f"(b)
               : "memory");
}
__device__ __forceinline__ void store_here(uint32_t to, float a, float b, float c, float d) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}
__device__ __forceinline__ void store_here(uint32_t to, float a, float b) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(a), "f"(b) : "memory");
}

// A barrier of all threads of a cluster, in two halves. It orders the barriers that a block published, and nothing else that it wrote:
// that would cost a fence.
__device__ __forceinline__ void arrive_at_cluster() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void wait_for_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// --- Copies of 16 bytes from device to shared memory by each thread; zeros where `exists` is false.

__device__ __forceinline__ void copy_16(uint32_t to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int unfinished>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(unfinished) : "memory");
}

// --- The copy engine (TMA). A tensor map describes a tensor of four dimensions; a copy names the first element of a box by its
// coordinates, the innermost first. What lies outside the tensor is read as zeros, and not written.

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Lines of the second cache that are to be given up before others: what others wrote there has to go to memory first, which takes
// longer than to forget what was only read.
__device__ __forceinline__ uint64_t give_up_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ void load_box(uint32_t to, const CUtensorMap& map, uint32_t barrier, int column, int row, int head,
                                         int batch, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7;"
      ::"r"(to), "l"(&map), "r"(barrier), "r"(column), "r"(row), "r"(head), "r"(batch), "l"(policy)
      : "memory");
}

__device__ __forceinline__ void store_box(const CUtensorMap& map, uint32_t from, int column, int row, int head, int batch) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map), "r"(from),
               "r"(column), "r"(row), "r"(head), "r"(batch)
               : "memory");
}

__device__ __forceinline__ void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until the engine has read all that this thread told it to store.
__device__ __forceinline__ void wait_for_stores() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// Orders what this thread wrote to shared memory before what the engine or the tensor cores do with it later.
__device__ __forceinline__ void fence_for_engine() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- Products of a warpgroup, 64 rows of A by n columns of B, 16 deep. They run beside the threads: from `begin_products` to
// `wait_for_products` nothing may touch their registers.

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most `unfinished` of the groups committed last still run.
template <int unfinished>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(unfinished) : "memory");
}

// Keeps the compiler from computing ahead what follows from this number: ahead is where registers are scarce.
__device__ __forceinline__ void hide_origin(unsigned& number) { asm volatile("" : "+r"(number)); }

// Keeps the compiler from moving uses of these registers across this point.
template <typename T, int count>
__device__ __forceinline__ void pin(T (&registers)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i)
    if constexpr (std::is_same_v<T, float>)
      asm volatile("" : "+f"(registers[i])::"memory");
    else
      asm volatile("" : "+r"(registers[i])::"memory");
}

// What tells wgmma where an operand lies: rows of 128 bytes, swizzled in groups of eight rows (1024 bytes) as the copy engine writes
// them with CU_TENSOR_MAP_SWIZZLE_128B. An operand that is contiguous along its rows' dimension of summation walks it by
// adding bytes to the address; `columns_apart` is the distance of the next 64 columns where rows are longer than
// that and the summation runs across rows. `forward` moves all of it by bytes: a compiler adds to the low half alone. Only the last 18 bits of an address count: above
// them it has the number of its block in the cluster, which would be added to `columns_apart`.
struct Operand {
  uint32_t low;

  __device__ __forceinline__ constexpr explicit Operand(uint32_t address, uint32_t columns_apart = 0)
      : low(((address & 0x3ffff) >> 4) + (columns_apart >> 4 << 16)) {}
  __device__ __forceinline__ uint64_t forward(uint32_t bytes) const {
    constexpr uint64_t swizzle_128 = uint64_t(1) << 62, eight_rows_apart = uint64_t(1024 >> 4) << 32;
    return swizzle_128 | eight_rows_apart | (low + (bytes >> 4));
  }
};
static_assert(Operand((1u << 24) + 1024, 8192).low == Operand(1024, 8192).low, "an operand lies in the block's own memory");

// `sums` has, of the warp's 16 rows, row lane / 4 (+ 8 in elements 2 and 3 of every four), columns 8 i + 2 (lane % 4) and the next.
#define HOPPER_16(mode, d, i)                                                                                          \
  mode(d[i]), mode(d[i + 1]), mode(d[i + 2]), mode(d[i + 3]), mode(d[i + 4]), mode(d[i + 5]), mode(d[i + 6]),          \
      mode(d[i + 7]), mode(d[i + 8]), mode(d[i + 9]), mode(d[i + 10]), mode(d[i + 11]), mode(d[i + 12]),               \
      mode(d[i + 13]), mode(d[i + 14]), mode(d[i + 15])
#define HOPPER_32(mode, d) HOPPER_16(mode, d, 0), HOPPER_16(mode, d, 16)
#define HOPPER_64(mode, d) HOPPER_32(mode, d), HOPPER_16(mode, d, 32), HOPPER_16(mode, d, 48)
#define HOPPER_WRITTEN(x) "=f"(x)
#define HOPPER_UPDATED(x) "+f"(x)
#define HOPPER_NAMES_32                                                                                              \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define HOPPER_NAMES_64                                                                                              \
  HOPPER_NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,"  \
                  "%56,%57,%58,%59,%60,%61,%62,%63"

#define HOPPER_PRODUCT(name, element, type, mode, adds)                                                                \
  __device__ __forceinline__ void name(element, float(&sums)[32], uint64_t a, uint64_t b) {                            \
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" HOPPER_NAMES_32                      \
                 "}, %32, %33, " adds ", 1, 1, 0, 0;"                                                                 \
                 : HOPPER_32(mode, sums)                                                                              \
                 : "l"(a), "l"(b));                                                                                   \
  }

// set_product: sums = a b, and add_product: sums += a b, where a and b are 64 rows each in shared memory, contiguous along the
// summation. weigh_product: sums = a b + (adds ? sums : 0), where a is in registers, as mma's left operand, and b is 16 rows of n
// contiguous elements in shared memory.
#define HOPPER_PRODUCTS(element, type)                                                                                 \
  HOPPER_PRODUCT(set_product, element, type, HOPPER_WRITTEN, "0")                                                      \
  HOPPER_PRODUCT(add_product, element, type, HOPPER_UPDATED, "1")                                                      \
  HOPPER_WEIGH(element, type, 64, 32, "{%32, %33, %34, %35}", "%36", "%37")                                            \
  HOPPER_WEIGH(element, type, 128, 64, "{%64, %65, %66, %67}", "%68", "%69")

#define HOPPER_WEIGH(element, type, n, count, left, right, adds_)                                                       \
  __device__ __forceinline__ void weigh_product(element, float(&sums)[count], const uint32_t* a, uint64_t b, bool adds) { \
    asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds_ ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." \
                 type "." type " {" HOPPER_NAMES_##count "}, " left ", " right ", adds, 1, 1, 1;\n}"                   \
                 : HOPPER_##count(HOPPER_UPDATED, sums)                                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(uint32_t(adds)));                          \
  }

HOPPER_PRODUCTS(__half, "f16")
HOPPER_PRODUCTS(__nv_bfloat16, "bf16")

// --- A warp's own products and matrices.

// sums (16 x 8) += a (16 x 16) b (16 x 8), in the registers' layout of wgmma.
__device__ __forceinline__ void multiply(__half, float* sums, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(__nv_bfloat16, float* sums, const uint32_t* a, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices from shared memory: the reverse of store_matrices.
__device__ __forceinline__ void load_matrices(uint32_t row, uint32_t* to) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

// Four 8 x 8 matrices to shared memory: lanes 8i to 8i + 7 name the rows of matrix i; register i of lane l holds elements
// 2 (l % 4) and the next of its row l / 4.
__device__ __forceinline__ void store_matrices(uint32_t row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// Two numbers to a pair of 16-bit elements, the first in the low half.
__device__ __forceinline__ uint32_t pack(__half, float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t pack(__nv_bfloat16, float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace hopper
#endif
