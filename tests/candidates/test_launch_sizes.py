import pytest

from gate.candidates.launch_sizes import check_sizes, evaluate, size_of

CONFIG = {"BLOCK_M": 64, "NUM_WARPS": 4}


@pytest.mark.parametrize(
    ("size", "value"),
    [(128, 128), ("128", 128), ("32 * NUM_WARPS", 128), ("2 * (BLOCK_M + 8) * 64 - NUM_WARPS // 3", 9215)],
)
def test_a_size_is_a_number_or_arithmetic_on_tunables(size, value):
    assert evaluate(size, CONFIG) == value


@pytest.mark.parametrize(
    "size", ["", "BLOCK_N", "2 ** 10", "-1", "1.5", "'a'", "f(1)", "1 // 0", "BLOCK_M.real", "1 if 1 else 2", "x = 1"]
)
def test_anything_else_is_refused(size):
    with pytest.raises(ValueError, match="not a valid size"):
        evaluate(size, CONFIG)


@pytest.mark.parametrize("size", [0, 1025, "NUM_WARPS * 512"])
def test_a_size_may_be_bounded_on_both_sides(size):
    with pytest.raises(ValueError, match="must lie between 1 and 1024"):
        check_sizes("threads", size, CONFIG, 1, 1024)


@pytest.mark.parametrize("size", [-1, "NUM_WARPS - 5"])
def test_a_size_is_not_negative(size):
    with pytest.raises(ValueError, match="must lie between 0 and inf"):
        check_sizes("threads", {"a": 1, "b": size}, CONFIG)


def test_kernels_may_differ_and_the_first_part_of_a_name_that_fits_is_taken():
    sizes = {"attend<128": "64 * NUM_WARPS", "attend": 32}
    assert [size_of(sizes, name, CONFIG) for name in ("attend<128, 1>", "attend<64>", "softmax")] == [256, 32, None]


def test_one_size_is_that_of_all_kernels_and_none_is_unknown():
    assert size_of("BLOCK_M", "attend", CONFIG) == 64
    assert size_of(None, "attend", CONFIG) is None
