import random

import pytest
import torch

from gate.runtime.device import open_device
from gate.runtime.execution import Execution
from gate.runtime.implementations import BoundCall, Implementation
from tests.support import examples


class Acting(Implementation):
    """Does with its operands what a test says, and records what they were."""

    def __init__(self, act=lambda operands: None):
        self.act = act
        self.calls = 0

    def bind(self, operands, device):
        def launch():
            self.calls += 1
            self.act(operands)
            return operands.out

        return BoundCall(launch)


@pytest.fixture
def execute():
    """Makes an execution of an act on the tiny workload."""

    def make(act=lambda operands: None, **changes) -> Execution:
        device = open_device("cpu")
        return Execution(device, Acting(act), examples.workload(**changes), random.Random(0))

    return make


def test_inputs_are_a_function_of_the_seed(execute):
    execution = execute()
    execution.refresh(7)
    first = [each.clone() for each in execution.pristine_inputs()]
    execution.refresh(8)
    other = execution.pristine_inputs()
    execution.refresh(7)
    again = execution.pristine_inputs()
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_a_candidate_sees_the_inputs_that_can_be_made_again(execute):
    seen = {}
    execution = execute(lambda operands: seen.update(q=operands.q.clone(), v=operands.v.clone()))
    execution.refresh(3)
    execution.run()
    q, _, v = execution.pristine_inputs()
    assert torch.equal(seen["q"], q)
    assert torch.equal(seen["v"], v)


def test_the_scale_is_the_inverse_root_of_the_head_dim(execute):
    seen = []
    execute(lambda operands: seen.append((operands.scale, operands.causal)), head_dim=64, causal=True).run()
    assert seen == [(0.125, True)]


def test_an_output_that_is_not_written_is_nan(execute):
    execution = execute()
    execution.refresh(1)
    assert torch.isnan(execution.run()).all()


def test_an_answer_does_not_survive_a_refresh(execute):
    execution = execute(lambda operands: operands.out.fill_(1.0))
    execution.refresh(1)
    execution.run()
    execution.refresh(2)
    assert torch.isnan(execution.output).all()


def test_a_timed_run_is_one_run_whose_output_can_be_looked_at(execute):
    count = []
    execution = execute(lambda operands: (count.append(1), operands.out.fill_(2.0)))
    execution.refresh(1)
    assert execution.time_ms() > 0
    assert len(count) == 1
    assert (execution.output == 2.0).all()


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_an_input_that_was_written_to_is_named(name, execute):
    execution = execute(lambda operands: getattr(operands, name)[0, 0, 0].add_(1.0))
    execution.refresh(1)
    execution.run()
    assert execution.changed_inputs(execution.pristine_inputs()) == [name]


def test_an_input_that_became_nan_is_changed(execute):
    execution = execute(lambda operands: operands.k.fill_(float("nan")))
    execution.refresh(1)
    execution.run()
    assert execution.changed_inputs(execution.pristine_inputs()) == ["k"]


def test_a_run_that_behaves_changes_overruns_and_replaces_nothing(execute):
    execution = execute(lambda operands: operands.out.copy_(operands.v))
    execution.refresh(1)
    execution.run()
    assert execution.changed_inputs(execution.pristine_inputs()) == []
    assert execution.overrun() == []
    assert execution.replaced() == []


def test_a_buffer_that_was_replaced_is_named(execute):
    execution = execute(lambda operands: operands.out.set_(torch.zeros(operands.out.shape)))
    execution.refresh(1)
    execution.run()
    assert execution.replaced() == ["out (storage)"]


def test_a_buffer_that_was_written_beside_is_named(execute):
    def act(operands):
        memory = torch.tensor([], dtype=torch.float32).set_(operands.k.untyped_storage())
        memory[(operands.k.data_ptr() - memory.data_ptr()) // 4 - 1] = 0.0

    execution = execute(act)
    execution.refresh(1)
    execution.run()
    assert execution.overrun() == ["k"]
