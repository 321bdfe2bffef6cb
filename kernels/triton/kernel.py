# Attention in Triton, the rung of one page: a program holds a tile of queries and streams K and V past it with an
# online softmax, so that no S x S matrix exists. forward.py is what runs on the device; this file launches it.
#
# Bottleneck: at head_dim 64 the tensor cores and the units for exp2 need the same time, and within a warp the two
# take turns. They overlap only as far as another warp on the multiprocessor has work of the other kind.
#
# Floor for B,H,S,D = 32,8,512,64 in float16 on an H200 (132 multiprocessors at 1.83 GHz):
#   products  4 B H S^2 D = 17.2 GFLOP, at 990 TFLOP/s dense            = 17.4 us
#   exp2      B H S^2 = 67.1 M, at 16 a clock on each multiprocessor    = 17.4 us
#   the rest  of the softmax, 3.5 instructions a score (multiply-add,
#             maximum, sum, half a conversion), at 128 lanes a clock    =  7.6 us
#   bytes     4 B H S D x 2 = 67.1 MB, at 4.8 TB/s                      = 14.0 us
#   from L2   K and V once per tile of 128 queries, 134 MB: tiles of 64 queries would read twice as much
# So 17.4 us where all of it overlaps, and 42 us where nothing does.
#
# Run: kernel-gate run --impl triton --shape 32,8,512,64
#      kernel-gate fuzz --impl triton --device cpu    (Triton's interpreter: right, and slow)
# The interpreter of Triton 3.6 needs NumPy before 2.4; that of 3.9 takes any.
#
# Tried and failed, as ptxas (of Triton 3.6, for sm_90, head_dim 64 unless said) tells before anything runs:
#   128 x 128 tiles, 4 warps        255 registers, 48 bytes of stack; 152 when causal
#   128 x 64 tiles, 4 warps         234 registers and no spill; but 255 when causal. 8 warps take 120
#   128 x 64, 4 warps, head_dim 128 255 registers, 168 bytes of stack
#   float32 in tiles of 64 x 64     255 registers, 48 bytes of stack; 2296 at head_dim 128, and 8 s to compile
"""The host's side: chooses a tile, loads the kernel for the tensors' device, and launches it."""

from __future__ import annotations

import importlib.util
import math
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

LOG2_E = 1.4426950408889634
SMALLEST = torch.finfo(torch.float32).tiny


class Tile(NamedTuple):
    """Queries of one program, keys of one step, and how a program runs: warps, and loads in flight at once."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


# By head_dim. With Triton 3.6 none spills for sm_89 or sm_90, and all fit the 99 KiB that a block may share on sm_89.
WIDE = {32: Tile(128, 64, 8, 3), 64: Tile(128, 64, 8, 3), 128: Tile(128, 64, 8, 2)}
NARROW = {32: Tile(64, 64, 4, 3), 64: Tile(64, 64, 4, 3), 128: Tile(64, 64, 4, 2)}
SCALAR = {32: Tile(32, 32, 4, 2), 64: Tile(32, 32, 4, 2), 128: Tile(32, 16, 8, 1)}
INTERPRETED = Tile(64, 64, 1, 1)


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool, out: torch.Tensor
) -> None:
    """Writes softmax(scale q kᵀ) v to `out`; all four are (batch, heads, seq_len, head_dim), of any strides."""
    if q.is_cpu and q.dtype is torch.bfloat16:
        _widened(q, k, v, scale, causal, out)
    else:
        _launch(q, k, v, scale, causal, out)


def choose_tile(q: torch.Tensor) -> Tile:
    """Wide tiles read K and V less often; narrow ones where wide ones would leave multiprocessors idle."""
    batch, heads, seq_len, head_dim = q.shape
    if q.is_cpu:
        return INTERPRETED
    if q.dtype is torch.float32:  # on the FMA units, with operands in registers
        return SCALAR[head_dim]
    programs = batch * heads * math.ceil(seq_len / WIDE[head_dim].block_m)
    enough = torch.cuda.get_device_properties(q.device).multi_processor_count
    return WIDE[head_dim] if programs >= enough else NARROW[head_dim]


@cache
def load_forward(device: str) -> Any:
    """forward.py's kernel: compiled, or for the CPU interpreted. Triton learns which when it is first imported."""
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    import triton  # noqa: PLC0415

    if isinstance(triton.language.max, triton.JITFunction) == (device == "cpu"):
        raise RuntimeError(f"Triton was imported before, and not for device '{device}'; use a fresh process")
    specification = importlib.util.spec_from_file_location("triton_forward", Path(__file__).with_name("forward.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.forward


def _launch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool, out: torch.Tensor) -> None:
    """The kernel takes maxima before it scales, so the queries take the sign of the scale, which is never 0."""
    batch, heads, seq_len, head_dim = q.shape
    tile = choose_tile(q)
    programs = batch * heads * math.ceil(seq_len / tile.block_m)
    load_forward(q.device.type)[(programs,)](
        q, k, v, out, q.stride(), k.stride(), v.stride(), out.stride(),
        heads, seq_len, max(abs(scale), SMALLEST) * LOG2_E,
        head_dim=head_dim, causal=causal, negated=scale < 0, masked=causal or seq_len % tile.block_n > 0,
        enable_fp_fusion=True, **tile._asdict(),
    )  # fmt: skip


def _widened(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool, out: torch.Tensor
) -> None:
    """The interpreter multiplies bfloat16 as the integers that it keeps them in, so that it gets float32."""
    wide = torch.empty_like(out, dtype=torch.float32)
    _launch(q.float(), k.float(), v.float(), scale, causal, wide)
    out.copy_(wide)
