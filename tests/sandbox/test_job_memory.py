"""What a job's processes hold: pages that they share count once, copies count each."""

import json
import subprocess
import sys

import pytest

from gate.records import Status
from tests.sandbox.test_client import FOREVER
from tests.support.jobs import python_job

FAMILY = """
import json, os
from gate.sandbox import job_memory
from gate.sandbox.job_memory import JobMemory, descendants, resident_bytes

MB = 1 << 20
said, answers = os.pipe()
orders = [os.pipe() for _ in range(5)]

def child(number, held):
    while os.read(orders[number][0], 1):
        held[:] = bytes(len(held))  # a copy of its own, where it was shared
        os.write(answers, b".")
    os._exit(0)

first = os.fork()
if first == 0:
    held = bytearray(48 * MB)
    held[:] = bytes(len(held))
    for number in range(1, 5):
        if os.fork() == 0:
            child(number, held)
    os.write(answers, b".")
    os.read(orders[0][0], 1)
    os._exit(0)
os.read(said, 1)
memory = JobMemory(first, 96 * MB)
memory._began = 0
readings = []
rollup = job_memory._rollup
job_memory._rollup = lambda pid: readings.append(pid) or rollup(pid)

def write(*numbers):
    for number in numbers:
        os.write(orders[number][1], b"x")
        os.read(said, 1)

def resident():
    return sum(map(resident_bytes, descendants(os.getpid())))
"""
ENDS = "\nfor pid in list(descendants(os.getpid())): os.kill(pid, 9)\n"


def family(code):
    """What the code prints as JSON beside a job of five processes that share 48 MB and are held to 96."""
    done = subprocess.run(
        [sys.executable, "-c", FAMILY + code + ENDS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_processes_share_counts_once():
    exceeds, held, resident = family("print(json.dumps([memory.exceeds_limit(), memory.held, resident()]))")
    assert resident > 5 * (48 << 20)
    assert not exceeds
    assert 48 << 20 < held < 96 << 20


def test_copies_count_though_the_resident_sizes_stay_the_same():
    before, after, grown = family("""
before, resident_before = memory.exceeds_limit(), resident()
write(1, 2)
print(json.dumps([before, memory.exceeds_limit(), resident() - resident_before]))""")
    assert (before, after) == (False, True)
    assert grown < 24 << 20


def test_proportional_sizes_are_read_again_only_once_enough_may_have_been_added():
    first, same, more = family("""
counts = []
for numbers in ((), (), (1,)):
    write(*numbers)
    memory.exceeds_limit()
    counts.append(len(readings))
print(json.dumps(counts))""")
    assert 0 < first == same < more


def test_proportional_sizes_are_not_read_while_resident_sizes_are_within_the_limit():
    assert family("memory._limit = 1 << 40\nprint(json.dumps([memory.exceeds_limit(), readings]))") == [False, []]


def test_where_proportional_sizes_cannot_be_read_resident_sizes_count():
    assert family("job_memory._rollup = lambda pid: {}\nprint(json.dumps(memory.exceeds_limit()))") is True


def test_processes_count_though_all_their_pages_are_shared():
    exceeds, held = family("""
job_memory.PROCESS_BYTES = 20 * MB
print(json.dumps([memory.exceeds_limit(), memory.held]))""")
    assert exceeds
    assert held >= 5 * (20 << 20)


SHARES = """
import os, time
held = bytearray(300 << 20)
held[:] = bytes(len(held))
for _ in range(4):
    if os.fork() == 0:
        {child}
        time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("child", "then", "status"),
    [("", "time.sleep(0.5)", Status.OK), ("held[:] = bytes(len(held))", FOREVER, Status.OUT_OF_MEMORY)],
    ids=["that only read", "that write"],
)
def test_a_job_is_held_to_its_limit_by_what_its_children_hold_together(child, then, status, server, tmp_path):
    ending = server.call(*python_job(tmp_path, SHARES.format(child=child) + then), 60.0)
    assert ending.status is status, ending.message
