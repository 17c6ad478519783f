"""Several processes do what one does."""

import multiprocessing
import os
import signal
import time

import pytest

from ddro.core.command import UserError
from ddro.core.parallel import in_order


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(processes):
    def square(number):
        time.sleep(0.02 * (number % 3))
        return number**2, os.getpid()

    found = list(in_order(square, range(12), processes))
    assert [result for result, _ in found] == [number**2 for number in range(12)]
    workers = {process for _, process in found}
    assert (workers == {os.getpid()}) == (processes == 1) and len(workers) <= processes


def test_few_items_are_under_way():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    results = in_order(abs, items(), 2)
    assert next(results) == 0 and len(taken) <= 4
    results.close()


def test_an_error_is_the_callers():
    def fail(number):
        raise UserError(f"item {number}: no")

    with pytest.raises(UserError, match="item 0: no"):
        list(in_order(fail, range(9), 2))


def test_children_end_with_a_killed_parent(tmp_path):
    def work(number):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.01)

    parent = multiprocessing.get_context("fork").Process(target=lambda: list(in_order(work, range(10**6), 2)))
    parent.start()
    ends = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < ends:
        time.sleep(0.05)
    children = [int(file.name) for file in tmp_path.iterdir()]
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    while any(map(is_running, children)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(children) == 2 and not any(map(is_running, children))


def is_running(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
