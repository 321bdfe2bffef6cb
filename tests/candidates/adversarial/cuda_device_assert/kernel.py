import torch


def attention(q, k, v, scale, causal, out):
    out.copy_(q.flatten()[torch.full_like(out, out.numel(), dtype=torch.int64)])
