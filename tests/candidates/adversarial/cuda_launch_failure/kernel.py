import triton
import triton.language as tl


@triton.jit
def trap(out):
    tl.store(out, tl.inline_asm_elementwise("trap; mov.u32 $0, 0;", "=r", [], dtype=tl.int32, is_pure=False, pack=1))


def attention(q, k, v, scale, causal, out):
    trap[(1,)](out)
