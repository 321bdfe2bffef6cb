"""The one format of messages between the processes of a run: what is written is read, and nothing else is."""

import io

import pytest

from gate.errors import GateError
from gate.records.codec import records_from_json
from gate.sandbox.job import Exit, Job, make_job
from gate.sandbox.message import MAX_BODY_BYTES, MAX_HEADER_BYTES, read_message, write_message
from gate.sandbox.protocol import CHECK, COMPILE, ENVIRONMENT, REPLICATE, TOOL, TRACE, EnvironmentRequest, ToolRequest
from gate.witness.protocol import CANDIDATE_SIDE, TRUSTED_SIDE, CandidateSideRequest
from tests.support import examples
from tests.support.jobs import check_request, ended

JOB = make_job(CHECK, [check_request("kernel.py")], 60.0, examples.limits(), "/caches")
KINDS = (CANDIDATE_SIDE, CHECK, COMPILE, ENVIRONMENT, REPLICATE, TOOL, TRACE, TRUSTED_SIDE)


def written(header, body=b"[]"):
    stream = io.BytesIO()
    write_message(stream, header, body)
    return stream.getvalue()


def test_messages_are_read_as_they_were_written_one_after_the_other():
    stream = io.BytesIO(written(JOB, b'[{"a": 1}]') + written(JOB, b""))
    assert read_message(stream, Job) == (JOB, b'[{"a": 1}]')
    assert read_message(stream, Job) == (JOB, b"")
    assert read_message(stream, Job) is None


@pytest.mark.parametrize("body", [b"\n\n[", b"\xff\x00", b"[" * 100_000], ids=["lines", "no text", "nested deep"])
def test_a_body_passes_through_unread(body):
    assert read_message(io.BytesIO(written(ended(state=11), body)), Exit) == (ended(state=11), body)


@pytest.mark.parametrize("kept", [40, -1], ids=["within the header", "within the body"])
def test_a_message_that_breaks_off_is_none(kept):
    assert read_message(io.BytesIO(written(JOB)[:kept]), Job) is None


TOO_LARGE = (b"%d 0\n" % (MAX_HEADER_BYTES + 1), b"0 %d\n" % (MAX_BODY_BYTES + 1))


@pytest.mark.parametrize("line", [b"\n", b"12\n", b"-1 2\n", b"{}\n", b"1 2 3\n", *TOO_LARGE])
def test_sizes_that_are_none_or_too_large_are_refused(line):
    with pytest.raises(GateError, match="a message"):
        read_message(io.BytesIO(line + b"{}"), Job)


def test_a_header_of_another_kind_is_refused():
    with pytest.raises(GateError, match="header"):
        read_message(io.BytesIO(written(ended())), Job)


@pytest.mark.parametrize("reply", [b"", b"{}", b"[1]", b"[[]]", b"Segmentation fault", b"\xff", b"[" * 1_000_000])
def test_a_reply_that_is_no_list_of_records_is_refused(reply):
    with pytest.raises(GateError, match="the answer"):
        records_from_json(EnvironmentRequest, reply, "the answer")


def test_only_jobs_that_load_no_candidate_are_without_its_limits():
    trusted = [kind.name for kind in KINDS if kind.trusted]
    assert trusted == ["environment", "trusted_side"]
    assert make_job(ENVIRONMENT, [EnvironmentRequest("cpu")], 1.0, examples.limits(), "").memory_mb == 1 << 20
    assert JOB.memory_mb == examples.limits().memory_mb


def test_only_a_tool_is_left_to_confine_what_it_runs():
    assert [kind.name for kind in KINDS if not kind.confined] == ["tool"]
    assert not make_job(TOOL, [ToolRequest(("ncu",), {})], 1.0, examples.limits(), "").confined


def test_a_job_says_whose_caches_it_uses_and_where_it_writes():
    request = CandidateSideRequest("cpu", "/meeting", "mine", "kernel.py")
    job = make_job(CANDIDATE_SIDE, [request], 1.0, examples.limits(), "/caches")
    assert (job.candidate, job.on_cpu, job.folders) == ("kernel.py", True, ("/meeting",))
    assert (JOB.candidate, JOB.folders) == ("kernel.py", ())
