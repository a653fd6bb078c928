"""A pool of worker processes that end with the process that started them.

If a worker process dies, for example because the system is out of memory, the tasks that were
running are tried once more, each in a process of its own.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache, partial, partialmethod
from multiprocessing import get_context
from typing import Any

from tqdm.auto import tqdm

from headrest.util.errors import HeadrestError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Environment variables that set the number of threads of OpenMP and TensorFlow."""


def run_unordered(
    work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int
) -> Iterator[tuple[Any, Any]]:
    """Run tasks in worker processes.

    Parameters
    ----------
    work : callable, task -> result; a function of a module, so that a worker can import it.
    tasks : iterable
    jobs : int, number of processes, which share the cores.

    Yields
    ------
    (task, result) in the order of completion. The result is None if a process died over the task
    twice, the second time with no other task running.
    """
    waiting = deque(tasks)
    while waiting:
        running: dict[Future, Any] = {}
        with _pool(jobs) as pool, suppress(BrokenProcessPool):
            yield from _keep_busy(pool, work, waiting, running, jobs)
        for task in running.values():
            yield task, _run_alone(work, task)


def run_ordered(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Run tasks in worker processes; yield the results in the order of the tasks.

    Parameters
    ----------
    work, tasks, jobs : see `run_unordered`; with one job the calling process does the work.

    Raises
    ------
    HeadrestError
        If a process died over the same task twice.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    done: dict[int, Any] = {}
    following = 0
    for (index, _), result in run_unordered(partial(_second, work), enumerate(tasks), jobs):
        if result is None:
            raise HeadrestError("a process died, most likely of too little memory; take fewer jobs")
        done[index] = result
        while following in done:
            yield done.pop(following)
            following += 1


@cache
def configure_worker(threads: int) -> None:
    """Switch off progress bars in this process, and limit its threads."""
    tqdm.set_lock(threading.RLock())  # the default lock of several processes outlives a kill
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(threads))


def _second(work, pair):
    return work(pair[1])


def _keep_busy(pool, work, waiting, running, jobs):
    """Submit at most `jobs` tasks at a time: those in `running` are all that a death can lose."""
    while waiting or running:
        while waiting and len(running) < jobs:
            running[_submit(pool, work, waiting[0])] = waiting[0]
            waiting.popleft()
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()
            yield running.pop(future), result


def _run_alone(work, task):
    with _pool(1) as pool, suppress(BrokenProcessPool):
        return _submit(pool, work, task).result()


def _submit(pool, work, task):
    """Submit a task, ignoring Ctrl-C while a process is started, which would get it too."""
    if threading.current_thread() is not threading.main_thread():
        return pool.submit(work, task)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(work, task)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _pool(jobs):
    """Processes that end with this block, or with this process if it is killed."""
    context = get_context("spawn")  # a forked copy of a process with threads may hang
    parent_alive, write_end = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, (parent_alive, threads))
    try:
        yield pool
        pool.shutdown()
    finally:
        write_end.close()
        pool.shutdown(cancel_futures=True)
        parent_alive.close()


def _start_worker(parent_alive, threads):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent_alive,), daemon=True).start()
    configure_worker(threads)


def _exit_with_parent(parent_alive):
    # Nothing is ever written: the pipe becomes readable when its other end closes.
    with suppress(OSError):
        parent_alive.poll(None)
    os._exit(1)
