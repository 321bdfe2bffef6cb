"""What becomes a record of SDPA, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.records import Evaluation, Policy
from gate.storage import write_record
from gate.verdict.baseline_store import load_record, record_path, refuse_loss, save_record
from gate.verdict.evidence_file import load_evidence
from tests.support import examples


def test_a_device_has_a_folder_by_its_name():
    assert record_path(Path("baselines"), "NVIDIA H200") == Path("baselines/nvidia-h200/sdpa.json")


def test_a_record_is_read_again(tmp_path):
    path = tmp_path / "made" / "sdpa.json"
    save_record(examples.sdpa_measurement(), path, Policy())
    assert load_record(path) == load_evidence(path) == examples.sdpa_measurement()
    with pytest.raises(BadInputError, match="record one with `kernel-gate baseline`"):
        load_record(tmp_path / "sdpa.json")


def test_a_record_that_would_lose_workloads_is_kept(tmp_path):
    path = tmp_path / "sdpa.json"
    write_record(path, examples.sdpa_measurement())
    (workload,) = examples.sdpa_measurement().workloads
    refuse_loss(path, [workload, replace(workload, seq_len=8)])
    refuse_loss(tmp_path / "new.json", [])
    with pytest.raises(BadInputError, match="delete 1 recorded workloads"):
        refuse_loss(path, [replace(workload, seq_len=8)])


def test_a_measurement_in_which_nothing_was_timed_is_no_record(tmp_path):
    empty = examples.measurement(Evaluation(examples.workload()), impl=None, build=None)
    with pytest.raises(UnfitEnvironmentError, match="nothing was written"):
        save_record(empty, tmp_path / "sdpa.json", Policy())
    assert not (tmp_path / "sdpa.json").exists()
