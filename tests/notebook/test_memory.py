"""How much memory a piece of work took: this process's own, and a GPU's that only pretends."""

import mmap
from types import SimpleNamespace

import pytest

from gate import MemoryTracker, check_oom_risk
from gate.errors import BadInputError
from gate.notebook import memory

MB = 1 << 20
SIZE_MB = 64
SLACK_MB = 24  # what else the interpreter may take or give back meanwhile


def take(size_mb=SIZE_MB):
    """Memory that is really there, and gone for good once closed: every page is written to."""
    taken = mmap.mmap(-1, size_mb * MB)
    for page in range(0, len(taken), mmap.PAGESIZE):
        taken[page] = 1
    return taken


def test_memory_that_is_kept_is_current_and_added():
    with MemoryTracker() as tracker:
        taken = take()
    assert tracker.delta_mb == pytest.approx(SIZE_MB, abs=SLACK_MB)
    assert tracker.current_mb >= SIZE_MB
    assert tracker.peak_mb >= tracker.current_mb
    taken.close()


def test_memory_that_was_given_back_shows_in_the_peak_alone():
    with MemoryTracker() as tracker:
        take().close()
    assert tracker.delta_mb == pytest.approx(0, abs=SLACK_MB)
    assert tracker.peak_mb - tracker.current_mb == pytest.approx(SIZE_MB, abs=SLACK_MB)


def test_what_was_taken_before_is_no_part_of_the_peak():
    take(4 * SIZE_MB).close()
    with MemoryTracker() as tracker:
        pass
    assert tracker.peak_mb - tracker.current_mb <= SLACK_MB


def test_memory_given_back_within_is_a_negative_addition():
    taken = take()
    with MemoryTracker() as tracker:
        taken.close()
    assert tracker.delta_mb == pytest.approx(-SIZE_MB, abs=SLACK_MB)


def test_numbers_can_be_read_within_and_stay_after_leaving():
    with MemoryTracker() as tracker:
        before = tracker.current_mb
        taken = take()
        assert tracker.current_mb - before == pytest.approx(SIZE_MB, abs=SLACK_MB)
        taken.close()
    left = tracker.current_mb
    more = take()
    assert tracker.current_mb == left
    more.close()


def test_an_inner_tracker_hides_nothing_from_the_outer_one():
    with MemoryTracker() as outer:
        take(2 * SIZE_MB).close()
        with MemoryTracker() as inner:
            take().close()
    assert outer.peak_mb - inner.peak_mb == pytest.approx(SIZE_MB, abs=SLACK_MB)


def test_an_exception_ends_the_tracking(monkeypatch):
    with pytest.raises(RuntimeError), MemoryTracker() as tracker:
        raise RuntimeError
    left = tracker.current_mb
    taken = take()
    assert tracker.current_mb == left
    taken.close()


def test_where_the_peak_cannot_be_reset_it_is_the_processs(monkeypatch):
    monkeypatch.setattr(memory, "_reset_peaks", lambda: None)
    take(4 * SIZE_MB).close()
    with MemoryTracker() as tracker:
        pass
    assert tracker.peak_mb >= 4 * SIZE_MB


class FakeCuda:
    """torch.cuda's memory statistics."""

    def __init__(self, initialized=True):
        self.initialized, self.now, self.most = initialized, 100 * MB, 900 * MB

    def is_initialized(self):
        return self.initialized

    def memory_allocated(self):
        return self.now

    def max_memory_allocated(self):
        return self.most

    def reset_peak_memory_stats(self):
        self.most = self.now

    def use(self, size_mb):
        self.now += size_mb * MB
        self.most = max(self.most, self.now)


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setitem(memory.sys.modules, "torch", SimpleNamespace(cuda=fake))
    return fake


def test_once_pytorch_uses_a_gpu_its_memory_counts(cuda):
    with MemoryTracker() as tracker:
        cuda.use(300)
        cuda.use(-200)
    assert (tracker.peak_mb, tracker.current_mb, tracker.delta_mb) == (400, 200, 100)


def test_a_gpu_that_is_first_used_within_counts_from_nothing(cuda):
    cuda.initialized, cuda.now, cuda.most = False, 0, 0
    with MemoryTracker() as tracker:
        cuda.initialized = True
        cuda.use(300)
    assert (tracker.peak_mb, tracker.current_mb, tracker.delta_mb) == (300, 300, 300)


def test_without_pytorch_nothing_is_imported(monkeypatch):
    monkeypatch.delitem(memory.sys.modules, "torch")
    with MemoryTracker() as tracker:
        pass
    assert tracker.current_mb > 0
    assert "torch" not in memory.sys.modules


@pytest.mark.parametrize(("peak_mb", "percent"), [(0, 0), (500, 50), (849.9, 84.99)])
def test_below_85_percent_there_is_no_risk_and_no_warning(peak_mb, percent):
    seen = check_oom_risk(peak_mb, 1000)
    assert not seen.risk
    assert seen.percent == pytest.approx(percent)
    assert f"{peak_mb:.0f} of 1000 MB" in seen.message


@pytest.mark.parametrize("peak_mb", [850, 999, 1500])
def test_from_85_percent_there_is_a_risk_and_a_warning(peak_mb):
    with pytest.warns(UserWarning, match="run out of memory") as warned:
        seen = check_oom_risk(peak_mb, 1000)
    assert seen.risk
    assert str(warned[0].message) == seen.message
    assert warned[0].filename == __file__


def test_a_peak_that_is_not_a_number_is_a_risk():
    with pytest.warns(UserWarning, match="run out of memory"):
        assert check_oom_risk(float("nan"), 1000).risk


@pytest.mark.parametrize("total_mb", [0, -1, float("nan")])
def test_no_memory_at_all_is_refused(total_mb):
    with pytest.raises(BadInputError, match="more than 0"):
        check_oom_risk(1, total_mb)
