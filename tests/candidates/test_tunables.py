import pytest

from gate.candidates.tunables import check_tunables, choose_config, from_text, to_text
from gate.errors import BadInputError

TUNABLES = {"BLOCK_M": (64, 32, 128), "NUM_WARPS": (4, 8)}


@pytest.mark.parametrize("text", [None, ""])
def test_the_first_value_is_the_default(text):
    assert choose_config(TUNABLES, text) == {"BLOCK_M": 64, "NUM_WARPS": 4}


@pytest.mark.parametrize("text", ["BLOCK_M=128", " BLOCK_M = 128 ", "BLOCK_M=128,"])
def test_what_is_chosen_goes_before_the_default(text):
    assert choose_config(TUNABLES, text) == {"BLOCK_M": 128, "NUM_WARPS": 4}


def test_all_can_be_chosen():
    assert choose_config(TUNABLES, "NUM_WARPS=8,BLOCK_M=32") == {"BLOCK_M": 32, "NUM_WARPS": 8}


REFUSED = {
    "an unknown name": ("BLOCK_K=64", "no tunable 'BLOCK_K'"),
    "a value that is not allowed": ("BLOCK_M=65", "BLOCK_M cannot be '65'"),
    "a value that is written otherwise": ("BLOCK_M=0x40", "BLOCK_M cannot be '0x40'"),
    "no value": ("BLOCK_M", "'BLOCK_M' is not NAME=VALUE"),
    "an empty value": ("BLOCK_M=", "BLOCK_M cannot be ''"),
    "a name in small letters": ("block_m=64", "no tunable 'block_m'"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_allowed_is_refused_and_what_is_is_listed(text, words):
    with pytest.raises(BadInputError, match="allowed: BLOCK_M 64 32 128, NUM_WARPS 4 8") as caught:
        choose_config(TUNABLES, text)
    assert words in str(caught.value)
    assert caught.value.exit_code == 64


def test_a_tunable_that_is_given_twice_is_refused():
    with pytest.raises(BadInputError, match="twice"):
        choose_config(TUNABLES, "BLOCK_M=64,BLOCK_M=64")


def test_where_there_is_nothing_to_tune_it_says_so():
    with pytest.raises(BadInputError, match="allowed: no tunables"):
        choose_config({}, "BLOCK_M=64")


def test_equal_configurations_are_written_alike_and_read_back():
    assert to_text({"B": 2, "A": -1}) == to_text({"A": -1, "B": 2}) == "A=-1,B=2"
    assert from_text("A=-1,B=2") == {"A": -1, "B": 2}
    assert from_text(to_text({})) == {}


@pytest.mark.parametrize(
    "tunables", [{"block_m": (1,)}, {"BLOCK M": (1,)}, {"__file__": (1,)}, {"1": (1,)}, {"A": ()}, {"A": (1, 1)}]
)
def test_what_cannot_be_a_macro_or_allows_nothing_is_refused(tunables):
    with pytest.raises(ValueError, match="tunable"):
        check_tunables(tunables)
