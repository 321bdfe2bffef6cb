"""What each distribution of inputs is like, and that a layout changes where the values are and not what they are."""

import random
from typing import get_args

import pytest
import torch

from gate.records import Distribution, Layout
from gate.runtime.device import open_device
from gate.runtime.guarded_tensor import LAYOUTS, GuardedTensor
from gate.runtime.inputs import FILLS, fill

SHAPE = (2, 3, 40, 32)


def made(distribution: str, seed: int = 1, dtype=torch.float32, shape=SHAPE):
    tensors = [torch.empty(shape, dtype=dtype) for _ in range(3)]
    fill(tensors, seed, distribution)
    return tensors


def scores(q, k):
    return torch.matmul(q.double(), k.double().transpose(-1, -2)) * q.shape[-1] ** -0.5


def test_every_distribution_and_layout_that_has_a_name_is_there():
    assert set(FILLS) == set(get_args(Distribution))
    assert set(LAYOUTS) == set(get_args(Layout))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("distribution", FILLS)
def test_inputs_are_finite_and_a_function_of_the_seed(distribution, dtype):
    first, again, other = (made(distribution, seed, dtype) for seed in (1, 1, 2))
    assert all(torch.isfinite(each).all() for each in first)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("distribution", FILLS)
def test_the_values_are_the_same_in_every_layout(distribution, layout):
    device = open_device("cpu")
    buffers = [GuardedTensor(device, SHAPE, torch.float16, random.Random(0), layout) for _ in range(3)]
    fill([each.tensor for each in buffers], 1, distribution)
    wanted = made(distribution, dtype=torch.float16)
    assert all(torch.equal(*pair) for pair in zip([each.tensor for each in buffers], wanted, strict=True))
    assert all(each.intact() for each in buffers)


def test_uniform_inputs_lie_between_minus_1_and_1():
    assert all(float(each.abs().max()) <= 1 for each in made("uniform"))


def test_large_logits_overflow_exp_where_no_maximum_is_subtracted():
    q, k, _ = made("large_logits")
    assert torch.isinf(torch.exp(scores(q, k).float())).any()


def test_one_key_dominates_every_query_of_its_head():
    q, k, _ = made("dominant_key")
    ordered = scores(q, k).sort(-1, descending=True)
    assert float((ordered.values[..., 0] - ordered.values[..., 1]).min()) > 25
    assert torch.equal(*torch.broadcast_tensors(ordered.indices[..., 0], ordered.indices[:, :, :1, 0]))
    assert len(ordered.indices[:, :, 0, 0].unique()) > 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_constants_have_few_bits_so_that_sums_of_them_are_exact(dtype):
    for tensor in made("constant", dtype=dtype):
        assert tensor.unique().numel() == 1
        assert float(tensor[0, 0, 0, 0] * 64) % 1 == 0
        assert 0 < float(tensor[0, 0, 0, 0]) <= 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_denormal_inputs_are_below_the_smallest_normal_number_and_not_zero(dtype):
    for tensor in made("denormal", dtype=dtype):
        below = (tensor.abs() < torch.finfo(dtype).tiny) & (tensor != 0)
        assert below.double().mean() > 0.5
