"""What does not fit its time limit, whose fault that is, and what shares a process."""

import pytest

from gate.analysis.effort import Effort, share, too_slow
from gate.records import Status

QUICK, SLOW = 0.01, 20.0


def test_the_calls_that_are_left_take_what_the_shortest_took():
    effort = Effort.of([(SLOW, 30.0 + SLOW)], took_s=60.0, planned=3)  # compiled in the first call, for 10 s
    assert effort.whole_s == 60.0 + 2 * (SLOW + 10.0)
    assert effort.candidate_s == 50.0 + 2 * SLOW


def test_a_candidate_whose_own_calls_take_the_time_is_too_slow_and_the_message_has_both_times():
    status, message = Effort(call_s=SLOW, whole_s=100.0, candidate_s=90.0).verdict(sdpa_s=QUICK)
    assert status is Status.TOO_SLOW
    assert "20 s, SDPA's takes 0.01 s (2,000 times as long)" in message
    assert "limits.check_s" in message


@pytest.mark.parametrize(
    ("candidate_s", "sdpa_s"), [(10.0, QUICK), (90.0, SLOW)], ids=["the oracle takes it", "SDPA is as slow"]
)
def test_a_request_that_is_too_large_for_its_limit_is_laid_to_no_candidate(candidate_s, sdpa_s):
    status, message = Effort(call_s=SLOW, whole_s=100.0, candidate_s=candidate_s).verdict(sdpa_s)
    assert status is Status.ENVIRONMENT
    assert "raise limits.check_s" in message


def test_all_of_unknown_time_share_a_process_and_others_as_many_as_fit():
    assert share([None, None, None], 60.0) == [[0, 1, 2]]
    assert share([1.0, 2.0, 3.0], 60.0) == [[0, 1, 2]]
    assert share([30.0, 5.0, 40.0, 1.0], 60.0) == [[0, 1], [2], [3]]
    assert share([50.0, None, 50.0], 60.0) == [[1], [0], [2]]
    assert share([], 60.0) == []


def test_a_replicate_that_was_ended_is_too_slow_where_calls_took_long_in_the_check():
    status, message = too_slow(call_ms=25_000.0, baseline_ms=5.0, limit_s=60.0)
    assert status is Status.TOO_SLOW
    assert "5,000 times as long" in message


def test_a_replicate_that_was_ended_hung_where_calls_were_short():
    assert too_slow(call_ms=5.0, baseline_ms=5.0, limit_s=60.0) is None


def test_a_replicate_in_which_sdpa_is_as_slow_is_the_requests_fault():
    status, message = too_slow(call_ms=25_000.0, baseline_ms=20_000.0, limit_s=60.0)
    assert status is Status.ENVIRONMENT
    assert "raise limits.replicate_s" in message
