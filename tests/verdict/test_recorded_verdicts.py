"""What was recorded is judged as when golden/recorded_verdicts.json was written, to the digit."""

import json
from pathlib import Path

import pytest

from gate.settings.load import load_settings
from gate.verdict.evidence_file import load_evidence, measurement_of
from gate.verdict.judge import judge

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "baselines"
EXPECTED = json.loads((ROOT / "tests" / "golden" / "recorded_verdicts.json").read_text())


def estimate(seen):
    return seen and [seen.point, seen.low, seen.high, seen.confidence, seen.replicates]


def judged(path: Path) -> dict:
    run = judge(measurement_of(load_evidence(path)), load_settings(ROOT / "gate.toml").gates)
    return {
        "outcome": run.verdict.outcome,
        "gates": [[gate.name, gate.workload and str(gate.workload), gate.outcome] for gate in run.verdict.gates],
        "comparisons": [
            {
                "workload": str(each.workload), "baseline": each.baseline, "baseline_ms": each.baseline_ms,
                "candidate_ms": each.candidate_ms, "ratio": estimate(each.ratio), "control": estimate(each.control),
            }
            for each in run.comparisons
        ],
    }  # fmt: skip


def test_every_recorded_file_has_an_expected_verdict():
    assert {str(path.relative_to(RECORDED)) for path in RECORDED.rglob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_measurement_is_judged_as_before(name):
    assert judged(RECORDED / name) == EXPECTED[name]
