"""Processes that work for another: spawned, silent, and gone as soon as it is.

A task whose process dies, as the system ends one that takes too much memory, does not end the run:
whatever was in work at that moment is tried once more by itself.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from functools import partial, partialmethod
from multiprocessing import get_context
from typing import Any

from tqdm.auto import tqdm

from headrest.util.errors import HeadrestError
from headrest.util.lean import serve_cleaning_only

THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Environment variables by which OpenMP and TensorFlow are told how many threads to make."""


def run_unordered(
    work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int
) -> Iterator[tuple[Any, Any]]:
    """Do tasks side by side.

    Parameters
    ----------
    work : callable, task -> result; a name of a module, so that another process can find it.
    tasks : iterable
    jobs : int, processes. The cores are shared out among them.

    Yields
    ------
    (task, result) as they come; the result is None where two processes have died over a task,
    the second one with nothing beside it.
    """
    waiting = deque(tasks)
    while waiting:
        running: dict[Future, Any] = {}
        with _pool(jobs) as pool, suppress(BrokenProcessPool):
            yield from _keep_busy(pool, work, waiting, running, jobs)
        for task in running.values():
            yield task, _alone(work, task)


def run_ordered(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Do tasks side by side, and give their results in the order of the tasks.

    Parameters
    ----------
    work, tasks, jobs : as for `run_unordered`; with one job, this process does the work.

    Yields
    ------
    The results.

    Raises
    ------
    HeadrestError
        Where two processes have died over a task.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    done: dict[int, Any] = {}
    following = 0
    for (index, _), result in run_unordered(partial(_numbered, work), enumerate(tasks), jobs):
        if result is None:
            raise HeadrestError("a process died, most likely of too little memory; take fewer jobs")
        done[index] = result
        while following in done:
            yield done.pop(following)
            following += 1


def _numbered(work, task):
    return work(task[1])


def _keep_busy(pool, work, waiting, running, jobs):
    """No task waits in the pool: those in `running` are all that a dying process can concern."""
    while waiting or running:
        while waiting and len(running) < jobs:
            with _unheard():
                running[pool.submit(work, waiting[0])] = waiting[0]
            waiting.popleft()
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()
            yield running.pop(future), result


def _alone(work, task):
    with _pool(1) as pool, suppress(BrokenProcessPool):
        with _unheard():
            future = pool.submit(work, task)
        return future.result()
    return None


@contextmanager
def _pool(jobs):
    """Processes that end with this block, however it is left, and whoever kills this process."""
    context = get_context("spawn")  # a notebook's kernel has threads, which no fork survives
    leash, holder = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, context, _start, (leash, threads))
    try:
        yield pool
        pool.shutdown()
    finally:
        holder.close()
        pool.shutdown(cancel_futures=True)
        leash.close()


def _start(leash, threads):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    serve_cleaning_only()
    settle(threads)


def _end_with(leash):
    # Nobody ever writes to it: it can be read once its other end is closed, by whatever means.
    with suppress(OSError):
        leash.poll(None)
    os._exit(1)


def settle(threads: int) -> None:
    """Prepare a process to work for another: no progress bars of its own, and few threads."""
    tqdm.set_lock(threading.RLock())  # its own lock outlives a process that is ended
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
    for name in THREADS:
        os.environ.setdefault(name, str(threads))


def _unheard():
    """While a process is started: Ctrl-C is meant for the one that starts it, not for both."""
    if threading.current_thread() is threading.main_thread():
        return _ignoring(signal.SIGINT)
    return nullcontext()


@contextmanager
def _ignoring(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
