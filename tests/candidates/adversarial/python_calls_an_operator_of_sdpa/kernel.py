import torch


def attention(q, k, v, scale, causal, out):
    out.copy_(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)[0])
