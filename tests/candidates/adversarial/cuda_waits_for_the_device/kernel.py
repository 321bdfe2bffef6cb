import torch


def compute(q, k, v, scale):
    return torch.softmax(q.float() @ k.float().mT * scale, dim=-1) @ v.float()


def attention(q, k, v, scale, causal, out):
    out.copy_(compute(q, k, v, scale))
    torch.cuda.synchronize()
