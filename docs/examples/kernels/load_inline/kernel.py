"""C++ in a string, as language models write kernels: torch's load_inline builds it when this file is first loaded.

One thread computes one query with an online softmax: short, right and slow. The same text is compiled by nvcc for a
GPU, and by the C++ compiler for a CPU.
"""

import torch
from torch.utils.cpp_extension import load_inline

ROW = r"""
#include <cmath>
#include <cstdint>

constexpr int MOST_COLUMNS = 64;

struct Problem {
    const float *q, *k, *v;
    float* out;
    int64_t seq_len, head_dim;
    float scale;
    bool causal;
};

FUNCTION void attend(const Problem& p, int64_t row) {
    const int64_t query = row % p.seq_len, head = row / p.seq_len * p.seq_len;
    const int64_t last = p.causal ? query + 1 : p.seq_len;
    float acc[MOST_COLUMNS] = {}, highest = -INFINITY, total = 0.0f;
    for (int64_t key = 0; key < last; ++key) {
        float score = 0.0f;
        for (int64_t d = 0; d < p.head_dim; ++d)
            score += p.q[row * p.head_dim + d] * p.k[(head + key) * p.head_dim + d];
        const float higher = fmaxf(highest, score * p.scale);
        const float rescale = expf(highest - higher), weight = expf(score * p.scale - higher);
        total = total * rescale + weight;
        for (int64_t d = 0; d < p.head_dim; ++d)
            acc[d] = acc[d] * rescale + weight * p.v[(head + key) * p.head_dim + d];
        highest = higher;
    }
    for (int64_t d = 0; d < p.head_dim; ++d) p.out[row * p.head_dim + d] = acc[d] / total;
}
"""
SIGNATURE = (
    "void run(torch::Tensor q, torch::Tensor k, torch::Tensor v, double scale, bool causal, torch::Tensor out)"
)
PROBLEM = """{
    Problem p{q.data_ptr<float>(), k.data_ptr<float>(), v.data_ptr<float>(), out.data_ptr<float>(),
              q.size(2), q.size(3), static_cast<float>(scale), causal};
    const int64_t rows = q.size(0) * q.size(1) * q.size(2);
"""
ON_A_CPU = f"""
#define FUNCTION inline
{ROW}
{SIGNATURE} {PROBLEM}    for (int64_t row = 0; row < rows; ++row) attend(p, row);
}}
"""
ON_A_GPU = f"""
#include <torch/extension.h>
#include <ATen/cuda/CUDAContext.h>
#define FUNCTION __device__
{ROW}
__global__ void kernel(Problem p, int64_t rows) {{
    const int64_t row = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
    if (row < rows) attend(p, row);
}}
{SIGNATURE} {PROBLEM}    kernel<<<(rows + 127) / 128, 128, 0, at::cuda::getCurrentCUDAStream()>>>(p, rows);
}}
"""


def built():
    """The module, for a GPU where there is one."""
    if torch.cuda.is_available():
        return load_inline("attention_inline", f"{SIGNATURE};", ON_A_GPU, functions=["run"])
    return load_inline("attention_inline", ON_A_CPU, functions=["run"])


module = built()


def attention(q, k, v, scale, causal, out):
    """All four tensors are (batch, heads, seq_len, head_dim); rows that lie apart are copied first."""
    if out.is_contiguous():
        module.run(q.contiguous(), k.contiguous(), v.contiguous(), scale, causal, out)
    else:
        whole = torch.empty_like(out, memory_format=torch.contiguous_format)
        module.run(q.contiguous(), k.contiguous(), v.contiguous(), scale, causal, whole)
        out.copy_(whole)
