import torch


def attention(q, k, v, scale, causal, out):
    torch.empty(1 << 50, dtype=torch.uint8, device=q.device)
