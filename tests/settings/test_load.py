import re
from dataclasses import replace
from pathlib import Path

import pytest

from gate.errors import BadInputError
from gate.records import Policy, ResourceLimits, Workload
from gate.settings.load import RENAMED, load_settings
from gate.settings.model import LimitSettings, MeasureSettings, Settings, parse_workload

PUBLISHED = Path(__file__).parents[2] / "gate.toml"


@pytest.fixture
def policy(tmp_path):
    """Writes a gate.toml, and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "gate.toml"
        path.write_text(text)
        return path

    return write


def test_gate_toml_shows_the_defaults():
    assert load_settings(PUBLISHED) == Settings()


def test_gate_toml_names_every_number_that_can_be_set():
    import tomllib

    table = tomllib.loads(PUBLISHED.read_text())
    for section, kind in {"gates": Policy, "measure": MeasureSettings, "limits": LimitSettings}.items():
        assert set(table[section]) == set(kind.__dataclass_fields__), section


def test_the_policy_of_this_folder_is_taken_where_none_is_named(policy, monkeypatch):
    monkeypatch.chdir(policy("[gates]\nalpha = 0.2\n").parent)
    assert load_settings().gates.alpha == 0.2


def test_without_any_policy_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings() == Settings()


def test_what_a_policy_leaves_out_keeps_its_default(policy):
    text = """
    [measure]
    rounds = 3
    [tolerance]
    float16 = { atol = 1e-2, rtol = 1e-2 }
    [workloads]
    cpu = ["1,1,8,32,float32"]
    [fuzz.small]
    batch = [1]
    heads = [1]
    seq_len = [8]
    """
    settings = load_settings(policy(text))
    assert settings.measure.rounds == 3
    assert settings.measure.baseline == "best"
    assert settings.tolerance["float16"].atol == 1e-2
    assert settings.tolerance["float32"] == Settings().tolerance["float32"]
    assert settings.required("cpu") == (Workload(1, 1, 8, 32, "float32"),)
    assert settings.required("cuda") == Settings().required("cuda")
    assert settings.fuzz["full"] == Settings().fuzz["full"]


def test_an_override_leaves_its_neighbours_at_their_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(overrides=["fuzz.small.batch=[2]", "tolerance.float32.atol=0.5"])
    assert settings.fuzz["small"] == replace(Settings().fuzz["small"], batch=(2,))
    assert settings.tolerance["float32"] == replace(Settings().tolerance["float32"], atol=0.5)


def test_an_override_wins_over_the_file(policy):
    settings = load_settings(policy("[gates]\nalpha = 0.2\nspeedup = 0.9\n"), ["gates.alpha=0.01"])
    assert (settings.gates.alpha, settings.gates.speedup) == (0.01, 0.9)


def test_the_last_of_two_overrides_wins():
    assert load_settings(PUBLISHED, ["gates.alpha=0.01", "gates.alpha=0.02"]).gates.alpha == 0.02


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("gates.strict=true", "gates", "strict", True),
        ("measure.baseline=flash", "measure", "baseline", "flash"),
        ('measure.baseline="flash"', "measure", "baseline", "flash"),
        ("measure.rounds=7", "measure", "rounds", 7),
        ("limits.check_s=5", "limits", "check_s", 5.0),
        ("gates.resources.max_spill_bytes=0", "gates", "resources", ResourceLimits(max_spill_bytes=0)),
    ],
)
def test_an_override_is_read_as_toml_or_as_a_word(override, section, name, value):
    assert getattr(getattr(load_settings(PUBLISHED, [override]), section), name) == value


def test_an_override_reaches_into_a_deeper_table():
    settings = load_settings(PUBLISHED, ["tolerance.float32.atol=0.5", "fuzz.small.batch=[2]"])
    assert settings.tolerance["float32"].atol == 0.5
    assert settings.fuzz["small"].batch == (2,)


UNUSABLE = {
    "no section": "alpha=0.05",
    "no value": "gates.alpha",
    "an unknown section": "gate.alpha=0.05",
    "an unknown name": "gates.alfa=0.05",
    "a section within a number": "gates.alpha.x=1",
    "a word for a number": "gates.alpha=low",
    "nothing for a number": "gates.alpha=",
    "NaN": "gates.alpha=nan",
    "infinity": "limits.check_s=inf",
    "an alpha beyond 1": "gates.alpha=1.5",
    "a fraction of a round": "measure.rounds=1.5",
    "no round": "measure.rounds=0",
    "no round of the selection": "measure.selection_rounds=0",
    "a negative warm-up": "measure.warmup_rounds=-1",
    "no time at all": "limits.replicate_s=0",
    "negative memory": "limits.memory_mb=-1",
    "a limit below nothing": "gates.resources.max_registers=-1",
    "an unknown limit": "gates.resources.max_regs=1",
    "no required workload": "workloads.cpu=[]",
    "an empty matrix": "fuzz.small.batch=[]",
    "a matrix with a batch of 0": "fuzz.small.batch=[0]",
    "a matrix with a length twice": "fuzz.small.seq_len=[8, 8]",
    "a matrix that is neither causal nor not": "fuzz.small.causal=[]",
    "a matrix of an unknown layout": 'fuzz.small.layout=["sideways"]',
    "a matrix without a distribution": "fuzz.small.distribution=[]",
}


@pytest.mark.parametrize("override", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_set_is_refused(override):
    with pytest.raises(BadInputError) as caught:
        load_settings(PUBLISHED, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_of_an_earlier_version_is_refused_with_its_new_name(old, new, policy):
    path = policy(f"{old} = [5]\n")
    with pytest.raises(BadInputError, match=rf"gate\.toml: {old} .*; write {new}$"):
        load_settings(path)
    override = f"{old}=[5]" if "." in old else f"{old}.cpu=[5]"
    with pytest.raises(BadInputError, match=rf"^{re.escape(override)}: .*; write {new}$"):
        load_settings(PUBLISHED, [override])


@pytest.mark.parametrize("text", ["[gates", "gates = 3\n", "[gates]\nalpha = 1.5\n", "[surprise]\nx = 1\n"])
def test_a_policy_that_makes_no_sense_is_refused_by_its_name(text, policy):
    path = policy(text)
    with pytest.raises(BadInputError, match=r"gate\.toml"):
        load_settings(path)


def test_a_policy_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="No such file"):
        load_settings(tmp_path / "missing.toml")


def test_a_policy_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "gate.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="not TOML"):
        load_settings(tmp_path / "gate.toml")


def test_a_shape_is_four_sizes():
    assert parse_workload("1,8,512,64") == Workload(1, 8, 512, 64, "float16")
    assert parse_workload(" 1, 8 ,512,64 ", "float32") == Workload(1, 8, 512, 64, "float32")


def test_a_shape_may_name_its_dtype():
    assert parse_workload("1,8,512,64,bfloat16", "float32") == Workload(1, 8, 512, 64, "bfloat16")


@pytest.mark.parametrize(
    "text", ["", "1", "1,8,512", "1,8,512,64,float16,casual", "1,8,x,64", "1,8,,64", "1,8,5.5,64", "0,8,512,64",
             "-1,8,512,64", "1,8,512,64,", "1,8,512,64,float64", "1x8x512x64"],
)  # fmt: skip
def test_a_malformed_shape_is_refused_with_an_example(text):
    with pytest.raises(BadInputError, match="1,8,512,64") as caught:
        parse_workload(text)
    assert f"'{text}'" in str(caught.value)


def test_required_workloads_are_named_once():
    settings = load_settings(PUBLISHED, ['workloads.cpu=["1,1,8,32", "1,1,8,32", "1,1,9,32"]'])
    assert [each.seq_len for each in settings.required("cpu")] == [8, 9]


def test_the_full_matrix_is_that_of_the_specification():
    workloads = Settings().fuzz["full"].workloads("float16")
    assert len(set(workloads)) == 27
    assert {each.shape[:3] for each in workloads} == {
        (b, h, s) for b in (16, 32, 48) for h in (4, 8, 16) for s in (448, 512, 640)
    }
    assert {(each.head_dim, each.causal, each.dtype) for each in workloads} == {(64, False, "float16")}


def test_a_setting_that_is_not_there_is_laid_to_the_option_that_named_it():
    with pytest.raises(BadInputError, match=r"^gates\.nothing=1: gates\.nothing: .*gate\.toml lists all names"):
        load_settings(overrides=["gates.nothing=1"])


@pytest.mark.parametrize(
    ("override", "blamed"),
    [
        ("gates.alpha=2", "gates.alpha=2: gates: "),
        ("foo.bar=1", "foo.bar=1: foo: "),
        ('workloads.cpu=["foo"]', "settings: workloads.cpu: shape 'foo' is none; write B,H,S,D"),
    ],
)
def test_what_is_wrong_is_laid_to_the_setting_that_says_it(override, blamed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=re.escape(blamed)):
        load_settings(None, ["measure.rounds=3", override])


@pytest.mark.parametrize("text", ["1x8x512x64", "a,b,c,d", "1,8,512", "1,8,-512,64", "1,8,512,64,causal"])
def test_a_shape_that_is_none_says_how_one_is_written(text):
    with pytest.raises(BadInputError, match=r"1,8,512,64,float32,causal$"):
        parse_workload(text)
