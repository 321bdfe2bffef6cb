import random

import pytest
import torch

from gate.runtime.device import open_device
from gate.runtime.guarded_tensor import ALIGNMENT, GUARD_BYTES, GuardedTensor

SHAPE = (2, 3, 5, 7)


@pytest.fixture(scope="module")
def device():
    return open_device("cpu")


@pytest.fixture
def buffer(device):
    return GuardedTensor(device, SHAPE, torch.float32, random.Random(0))


def beside(buffer: GuardedTensor, offset_bytes: int) -> torch.Tensor:
    """The byte at an offset from the tensor's start, as a one-element view of the same memory."""
    storage = torch.tensor([], dtype=torch.uint8).set_(buffer.tensor.untyped_storage())
    start = buffer.tensor.data_ptr() - storage.data_ptr()
    return storage[start + offset_bytes : start + offset_bytes + 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_a_guarded_tensor_is_what_was_asked_for(dtype, device):
    tensor = GuardedTensor(device, SHAPE, dtype).tensor
    assert (tensor.shape, tensor.dtype) == (SHAPE, dtype)
    assert tensor.is_contiguous()


def test_writing_within_is_no_overrun(buffer):
    buffer.tensor.fill_(1.0)
    assert buffer.intact()


@pytest.mark.parametrize("where", ["one before", "one after", "a page after", "half a page before"])
def test_a_byte_beside_the_tensor_is_seen(where, buffer):
    size = buffer.tensor.numel() * 4
    offsets = {
        "one before": -1,
        "one after": size,
        "a page after": size + GUARD_BYTES - 1,
        "half a page before": -2048,
    }
    beside(buffer, offsets[where]).add_(1)
    assert not buffer.intact()


def test_every_tensor_has_a_guard_on_both_sides(device):
    for seed in range(32):
        buffer = GuardedTensor(device, SHAPE, torch.float32, random.Random(seed))
        for offset in (-GUARD_BYTES, buffer.tensor.numel() * 4 + GUARD_BYTES - 1):
            beside(buffer, offset).add_(1)
            assert not buffer.intact()
            beside(buffer, offset).sub_(1)
        assert buffer.intact()


def test_tensors_lie_at_various_but_aligned_places(device):
    buffers = [GuardedTensor(device, SHAPE, torch.float32, random.Random(seed)) for seed in range(16)]
    storages = [buffer.tensor.untyped_storage().data_ptr() for buffer in buffers]
    shifts = [each.tensor.data_ptr() - storage for each, storage in zip(buffers, storages, strict=True)]
    assert len(set(shifts)) > 4
    assert all(shift % ALIGNMENT == 0 for shift in shifts)


def test_the_same_randomness_gives_the_same_place(device):
    places = [GuardedTensor(device, SHAPE, torch.float32, random.Random(7)).tensor.storage_offset() for _ in range(2)]
    assert places[0] == places[1]


def test_a_tensor_that_was_only_written_to_is_not_replaced(buffer):
    buffer.tensor.fill_(1.0)
    assert not buffer.replaced()


@pytest.mark.parametrize(
    "replace",
    [
        lambda tensor: tensor.set_(torch.zeros(SHAPE)),
        lambda tensor: tensor.resize_(1),
        lambda tensor: tensor.t_() if tensor.dim() == 2 else tensor.transpose_(0, 1),
        lambda tensor: setattr(tensor, "data", torch.zeros(SHAPE)),
    ],
    ids=["another storage", "another size", "other strides", "other contents by .data"],
)
def test_a_tensor_that_became_another_is_seen(replace, buffer):
    replace(buffer.tensor)
    assert buffer.replaced()


LAYOUTS = ("contiguous", "heads_inside", "padded_rows", "odd_rows")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_layout_has_rows_of_neighbouring_elements_and_none_overlap(layout, dtype, device):
    tensor = GuardedTensor(device, SHAPE, dtype, layout=layout).tensor
    assert (tensor.shape, tensor.stride(3)) == (SHAPE, 1)
    tensor.copy_(torch.arange(tensor.numel()).view(SHAPE))
    assert torch.equal(tensor.flatten().float(), torch.arange(tensor.numel()).float())
    assert tensor.is_contiguous() is (layout == "contiguous")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writing_all_rows_of_any_layout_is_no_overrun(layout, device):
    buffer = GuardedTensor(device, SHAPE, torch.float32, layout=layout)
    buffer.tensor.fill_(1.0)
    assert buffer.intact()


@pytest.mark.parametrize("layout", ["padded_rows", "odd_rows"])
def test_a_byte_between_two_rows_is_seen(layout, device):
    buffer = GuardedTensor(device, SHAPE, torch.float16, layout=layout)
    beside(buffer, 2 * SHAPE[3]).add_(1)
    assert not buffer.intact()


def test_padded_rows_stay_aligned_and_odd_ones_do_not(device):
    wide = (2, 3, 5, 32)
    padded, odd = (
        GuardedTensor(device, wide, torch.float16, layout=each).tensor for each in ("padded_rows", "odd_rows")
    )
    assert (padded.stride(2) * 2 % 16, odd.stride(2)) == (0, 33)


@pytest.mark.parametrize(
    ("replace", "named"),
    [
        (lambda tensor: tensor.set_(torch.zeros(SHAPE)), ["storage"]),
        (lambda tensor: tensor.resize_(1), ["shape", "strides"]),
        (lambda tensor: tensor.transpose_(0, 1), ["shape", "strides"]),
    ],
)
def test_what_became_another_is_named(replace, named, buffer):
    replace(buffer.tensor)
    assert buffer.replaced() == named


def test_a_subclass_is_another_tensor(buffer):
    buffer.tensor = torch.nn.Parameter(buffer.tensor)
    assert buffer.replaced() == ["type"]
