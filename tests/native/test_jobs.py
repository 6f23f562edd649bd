"""The rings between the loop thread and the plugin thread; the tests play one or both of them."""

import gc
import random
import select
import threading

import pytest

from native.jobs import JobState, PlayedWorker, PluginJob

UNUSED = {"jobs": 0, "outside": 0, "bytes": 0, "buffers": 0, "users": 0}


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


@pytest.fixture
def worker():
    worker = PlayedWorker("example", b'{"a":1}')
    yield worker
    gc.collect()


def taken_one(worker: PlayedWorker) -> PluginJob:
    (job,) = worker.queue().take()
    return job


def test_a_job_goes_there_and_back(worker: PlayedWorker) -> None:
    queue = worker.queue()
    assert queue.take() == []
    assert worker.park(3, b"question", verb=7)
    assert worker.parked(3)
    worker.end_round()
    assert readable(queue.fd)
    (job,) = queue.take()
    assert (job.payload, job.verb, job.number) == (b"question", 7, 1)
    plugin = job.plugin
    assert (plugin.document, plugin.packed, plugin.step, plugin.config_hash) == (
        b'{"a":1}',
        b"",
        "test_step",
        77,
    )
    assert job.plugin_name == "example"
    assert job.request_id == "r" * 32
    assert job.plugin_id == "11111111-2222-3333-4444-555555555555"
    assert job.awaited
    assert not job.abandoned
    assert worker.resumed(3) is None
    job.finish(b"answer")
    assert readable(worker.wakeup_fd)
    assert worker.wake_up()
    assert not worker.parked(3)
    assert worker.resumed(3) == (JobState.JOB_DONE, b"answer")
    worker.free_job(3)
    assert worker.in_use() == UNUSED


def test_the_plugin_thread_is_woken_only_when_it_sleeps(worker: PlayedWorker) -> None:
    queue = worker.queue()
    worker.park(0)
    assert not readable(queue.fd)  # not before the round ends
    worker.end_round()
    assert readable(queue.fd)
    first = queue.take()
    worker.park(1)
    worker.end_round()
    second = queue.take()
    assert queue.take() == []  # asleep now
    assert not readable(queue.fd)
    for job in first + second:
        job.finish(b"")
    worker.park(2)
    worker.end_round()
    assert readable(queue.fd)
    queue.take()[0].fail()
    worker.wake_up()
    assert [worker.resumed(number)[0] for number in range(3)] == [
        JobState.JOB_DONE,
        JobState.JOB_DONE,
        JobState.JOB_FAILED,
    ]
    assert worker.counted()["plugin_failures"] == 1


def test_a_job_is_answered_once(worker: PlayedWorker) -> None:
    worker.park(0, b"x")
    job = taken_one(worker)
    job.finish(b"")
    with pytest.raises(ValueError, match="has been answered"):
        job.finish(b"")
    with pytest.raises(ValueError, match="has been answered"):
        _ = job.payload
    job.fail()
    worker.wake_up()
    assert worker.times_resumed(0) == 1
    assert worker.resumed(0) == (JobState.JOB_DONE, b"")


def test_a_forgotten_job_has_failed(worker: PlayedWorker) -> None:
    worker.park(0)
    taken_one(worker)
    worker.wake_up()
    assert worker.resumed(0) == (JobState.JOB_FAILED, b"")


def test_a_result_that_is_too_long_is_refused(worker: PlayedWorker) -> None:
    worker.park(0)
    job = taken_one(worker)
    with pytest.raises(ValueError, match="at most 100663296 are allowed"):
        job.finish(bytes(100663297))
    job.fail()
    worker.wake_up()
    assert worker.resumed(0) == (JobState.JOB_FAILED, b"")


@pytest.mark.parametrize("freed_first", [False, True])
def test_a_late_job_is_resumed_once_and_its_result_is_dropped(
    worker: PlayedWorker, freed_first: bool
) -> None:
    worker.park(0, b"slow")
    job = taken_one(worker)
    worker.expire(0)
    assert worker.resumed(0) == (JobState.JOB_LATE, b"")
    assert not worker.parked(0)
    assert job.abandoned
    if freed_first:
        worker.free_job(0)
    assert worker.in_use()["users"] == 1  # the plugin thread may still read the configuration
    assert job.payload == b"slow"
    job.finish(b"too late")
    worker.wake_up()
    assert worker.times_resumed(0) == 1
    if not freed_first:
        worker.free_job(0)
    assert worker.in_use() == UNUSED
    assert worker.counted() == {"plugin_timeouts": 1, "plugin_failures": 0, "jobs_dropped": 0}


def test_a_request_that_ends_leaves_its_job_to_itself(worker: PlayedWorker) -> None:
    worker.park(0, b"first")
    worker.park(1, b"second")
    worker.end_round()
    queue = worker.queue()
    (job,) = queue.take(1)
    worker.abandon(0)
    worker.abandon(1)
    assert job.abandoned
    assert queue.take() == []  # the second one is not worth the work any more
    job.finish(b"")
    worker.wake_up()
    assert worker.times_resumed(0) == worker.times_resumed(1) == 0
    assert worker.in_use() == UNUSED
    assert worker.counted()["plugin_failures"] == 0


def test_sending_waits_for_nothing(worker: PlayedWorker) -> None:
    assert worker.send(b"log line", verb=2)
    job = taken_one(worker)
    assert (job.payload, job.verb, job.awaited, job.abandoned) == (b"log line", 2, False, False)
    job.finish(b"nobody reads this")
    worker.wake_up()
    assert worker.in_use() == UNUSED


def test_large_jobs_leave_room_for_small_ones(worker: PlayedWorker) -> None:
    """Or else a few bodies that wait for one plugin would keep everybody from being authenticated."""
    for size in (1_000_000, 100_000, 10_000):
        while worker.send(bytes(size)):
            pass
    assert all(worker.send(bytes(8_000)) for _ in range(100))
    while jobs := worker.queue().take():
        for job in jobs:
            job.finish(b"")
    del jobs, job
    worker.wake_up()
    assert worker.in_use() == UNUSED


def test_one_slow_plugin_leaves_room_for_the_others(worker: PlayedWorker) -> None:
    accepted = 0
    while worker.send():
        accepted += 1
    worker.use_another_plugin()
    assert accepted == 4096
    assert worker.send()
    while jobs := worker.queue().take():
        for job in jobs:
            job.finish(b"")
    del jobs, job
    worker.wake_up()
    assert worker.in_use() == UNUSED


def test_a_thread_that_stands_still_costs_bounded_memory(worker: PlayedWorker) -> None:
    accepted = 0
    while worker.send(bytes(100_000)):
        accepted += 1
    assert 600 < accepted <= 671
    assert worker.counted()["jobs_dropped"] == 1
    assert not worker.park(0, bytes(70_000_000))
    while jobs := worker.queue().take():
        for job in jobs:
            job.finish(b"")
    del jobs, job
    worker.wake_up()
    assert worker.in_use() == UNUSED
    assert worker.park(0, bytes(70_000_000))  # a single one is never too long
    worker.abandon(0)
    worker.queue().take()
    worker.wake_up()
    count = 0
    while worker.send(b"x"):
        count += 1
    assert count == 4096


def test_two_threads(worker: PlayedWorker) -> None:
    """Thousands of exchanges that park, answer, run late and go away, while another thread works."""
    ended = threading.Event()

    def work() -> None:
        queue = worker.queue()
        while not ended.is_set():
            select.select([queue.fd], [], [], 0.05)
            while jobs := queue.take(8):
                for job in jobs:
                    job.finish(job.payload * 2)

    thread = threading.Thread(target=work)
    thread.start()
    chance = random.Random(4)
    answered = waiting = 0
    expected: dict[int, bytes] = {}
    try:
        for turn in range(20_000):
            number = turn % 500
            if number in expected:
                while not worker.times_resumed(number) or worker.parked(number):
                    select.select([worker.wakeup_fd], [], [], 1)
                    worker.wake_up()
                state, result = worker.resumed(number)
                assert (state, result) == (JobState.JOB_DONE, expected.pop(number) * 2)
                answered += 1
                worker.free_job(number)
            payload = b"%d" % turn
            assert worker.park(number, payload)
            waiting += 1
            worker.end_round()
            if (fate := chance.random()) < 0.1:
                worker.abandon(number)
            elif fate < 0.2:
                worker.expire(number)
                assert worker.resumed(number)[0] in (JobState.JOB_LATE, JobState.JOB_DONE)
                worker.free_job(number)
            else:
                expected[number] = payload
    finally:
        while worker.in_use()["outside"]:
            select.select([worker.wakeup_fd], [], [], 1)
            worker.wake_up()
        ended.set()
        thread.join()
    for number in expected:
        worker.free_job(number)
    assert answered > 10_000
    assert worker.in_use() == UNUSED
