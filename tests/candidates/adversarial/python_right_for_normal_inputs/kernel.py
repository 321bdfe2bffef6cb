import torch


def attention(q, k, v, scale, causal, out):
    weights = torch.exp(q @ k.mT * scale)
    out.copy_(weights @ v / weights.sum(-1, keepdim=True))
