"""What a machine can tell apart, by SDPA against itself."""

from dataclasses import replace

import pytest

from gate.doctor.noise import expected_noise, noise_finding
from gate.records import Status
from tests.support import examples


def aa_trial(noise, **changes):
    return examples.trial(1.0, 10, impl="sdpa:flash", noise=noise, interim_replicates=tuple(range(1, 51)), **changes)


@pytest.mark.parametrize(("noise", "fit"), [(0.002, True), (0.2, False)])
def test_a_machine_that_sees_no_difference_of_five_percent_is_not_fit(noise, fit):
    found = noise_finding(aa_trial(noise), examples.workload())
    assert found.present is fit
    assert "sdpa:flash against itself" in found.evidence
    assert "10 replicates" in found.evidence


def test_a_trial_that_failed_is_a_finding_with_its_reason():
    failed = replace(aa_trial(0.002), status=Status.ENVIRONMENT, message="the GPU is lost")
    found = noise_finding(failed, examples.workload())
    assert not found.present
    assert found.evidence == "the GPU is lost"


def test_the_trial_goes_on_until_its_time_is_over_and_its_replicates_suffice(session):
    found = expected_noise(session, examples.workload(), seconds=0.0)
    assert f"{session.settings.gates.min_replicates} replicates" in found.evidence
