import torch


def attention(q, k, v, scale, causal, out):
    q, k, v = (each.half() for each in (q, k, v))
    out.copy_(torch.softmax(q @ k.mT * scale, dim=-1) @ v)
