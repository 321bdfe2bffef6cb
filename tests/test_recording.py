"""What becomes a record of SDPA, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.files import load, write_record
from gate.recording import place, record, recorded, refuse_loss
from gate.records import Evaluation, Policy
from tests import examples


def test_a_device_has_a_folder_by_its_name():
    assert place(Path("baselines"), "NVIDIA H200") == Path("baselines/nvidia-h200/sdpa.json")


def test_a_record_is_read_again(tmp_path):
    path = tmp_path / "made" / "sdpa.json"
    record(examples.sdpa_measurement(), path, Policy())
    assert recorded(path) == load(path) == examples.sdpa_measurement()
    with pytest.raises(BadInputError, match="make one with `kernel-gate baseline`"):
        recorded(tmp_path / "sdpa.json")


def test_a_record_that_would_lose_workloads_is_kept(tmp_path):
    path = tmp_path / "sdpa.json"
    write_record(path, examples.sdpa_measurement())
    (workload,) = examples.sdpa_measurement().workloads
    refuse_loss(path, [workload, replace(workload, seq_len=8)])
    refuse_loss(tmp_path / "new.json", [])
    with pytest.raises(BadInputError, match="1 workloads that would be lost"):
        refuse_loss(path, [replace(workload, seq_len=8)])


def test_a_measurement_in_which_nothing_was_timed_is_no_record(tmp_path):
    empty = examples.measurement(Evaluation(examples.workload()), impl=None, build=None)
    with pytest.raises(UnfitEnvironmentError, match="nothing was written"):
        record(empty, tmp_path / "sdpa.json", Policy())
    assert not (tmp_path / "sdpa.json").exists()
