def attention(q, k, v, scale, causal, out):
    pass
