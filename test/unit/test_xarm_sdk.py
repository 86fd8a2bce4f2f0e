"""Calls into the vendor's library are bounded in time, each from its own turn on."""

import threading

import pytest

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_sdk import BoundedWorker


@pytest.fixture
def worker():
    worker = BoundedWorker('test')
    yield worker
    worker.close()


@pytest.fixture
def busy(worker):
    """A call that runs until the event is set; a second one waits behind it, with a deadline that is over by then."""
    may_end, begun, results = threading.Event(), threading.Event(), {}

    def long_call():
        begun.set()
        return may_end.wait(10.0)

    def call(name, function, deadline_s):
        try:
            results[name] = worker.call(name, function, deadline_s=deadline_s)
        except ArmError as error:
            results[name] = error.problem

    def start(front_deadline_s):
        front = threading.Thread(target=call, args=('front', long_call, front_deadline_s))
        front.start()
        begun.wait(10.0)
        behind = threading.Thread(target=call, args=('behind', lambda: 'its result', 0.02))
        behind.start()
        behind.join(0.06)
        return may_end, results, (front, behind)
    yield start
    may_end.set()


def test_a_call_that_waits_for_its_turn_does_not_use_up_its_time(worker, busy):
    may_end, results, threads = busy(front_deadline_s=10.0)
    may_end.set()
    for thread in threads:
        thread.join(10.0)
    assert results == {'front': True, 'behind': 'its result'} and not worker.dead


def test_a_call_that_hangs_ends_the_worker_and_those_behind_it(worker, busy):
    _, results, threads = busy(front_deadline_s=0.1)
    for thread in threads:
        thread.join(10.0)
    assert results == {'front': 'front: the xArm did not answer within 0.1 s',
                       'behind': 'behind: the connection to the xArm is lost'}
    assert worker.dead


def test_a_call_that_fails_is_told_and_the_next_one_runs(worker):
    with pytest.raises(ArmError, match='divide: .*zero'):
        worker.call('divide', lambda: 1 / 0, deadline_s=1.0)
    assert worker.call('add', lambda one, other: one + other, 1, other=2, deadline_s=1.0) == 3
