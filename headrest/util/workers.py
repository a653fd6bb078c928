"""Worker processes that end with the process that started them, or those of a Dask cluster.

If a process dies, for example because the system is out of memory, the tasks that were running are
tried once more, each in a process of its own.

Each worker of a cluster needs this version of headrest, the same paths to source and destination,
and one thread, since each thread cleans a series of its own:
``dask worker tcp://host:8786 --nthreads 1``.
"""

import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context
from typing import Any

from tqdm.auto import tqdm

from headrest.util import HeadrestError, __version__, cores, require

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
"""Environment variables that set the number of threads of OpenMP and TensorFlow."""

SUBMITTED_TASKS = 2000
"""Tasks that a Dask scheduler gets at a time: more than it has workers."""


def run_unordered(
    work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int
) -> Iterator[tuple[Any, Any]]:
    """Run tasks in `jobs` processes, which share the cores; `work` is a function of a module.

    Yields (task, result) in the order of completion. The result is None if a process died over the
    task twice, the second time with no other task running.
    """
    waiting = deque(tasks)
    while waiting:
        running: dict[Future, Any] = {}
        with _pool(jobs) as pool, suppress(BrokenProcessPool):
            yield from _keep_busy(pool, work, waiting, running, jobs)
        for task in running.values():
            yield task, _run_alone(work, task)


def run_ordered(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Run tasks as `run_unordered`; yield the results in the order of the tasks.

    With one job the calling process does the work. Raises a HeadrestError if a process died over
    the same task twice.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    done: dict[int, Any] = {}
    following = 0
    for (index, _), result in run_unordered(partial(_second, work), enumerate(tasks), jobs):
        if result is None:
            raise HeadrestError(
                "a process died: too little memory (take fewer jobs), or a script that does not "
                'call this under `if __name__ == "__main__":`'
            )
        done[index] = result
        while following in done:
            yield done.pop(following)
            following += 1


@cache
def configure_worker(threads: int) -> None:
    """Switch off progress bars in this process, and limit its threads."""
    tqdm.set_lock(threading.RLock())  # the default lock of several processes outlives a kill
    os.environ["TQDM_DISABLE"] = "1"
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
    """Submit a task, and hold Ctrl-C back meanwhile: a process that starts would get it too."""
    if threading.current_thread() is not threading.main_thread():
        return pool.submit(work, task)
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with _blocked(signal.SIGINT):
            return pool.submit(work, task)
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _blocked(number):
    """Block a signal in this thread and the processes that it starts; not possible on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(jobs):
    """Processes that end with this block, or with this process if it is killed."""
    context = get_context("spawn")  # a forked copy of a process with threads may hang
    parent_alive, write_end = context.Pipe(duplex=False)
    threads = max(1, cores() // jobs)
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


def run_on_cluster(
    work: Callable[[Any], Any], tasks: Iterable[Any], address: str
) -> Iterator[tuple[Any, Any]]:
    """Run tasks on a cluster, as `run_unordered`. If a worker dies, another one repeats its task.

    `address` is that of the scheduler ("tcp://host:8786"), or the path of its scheduler file. The
    result is None if several workers died over a task. Raises a HeadrestError if no scheduler
    answers, it goes away, or the workers cannot run the tasks.
    """
    with _connect(address) as client:
        from distributed import as_completed  # loaded only where it is used

        waiting, submitted = iter(tasks), {}

        def submit(count):
            for task in islice(waiting, count):
                future = client.submit(_run_on_worker, work, task, __version__, pure=False)
                submitted[future.key] = task
                yield future

        completed = as_completed(list(submit(SUBMITTED_TASKS)), loop=client.loop)
        for future in completed:
            yield submitted.pop(future.key), _result(future, address)
            completed.update(list(submit(1)))


def check_address(address: str) -> None:
    """Raise a HeadrestError if this is no scheduler file or address, or Dask is not installed."""
    require("distributed", ", to use a scheduler")
    if not (os.path.isfile(address) or "://" in address or re.search(r":\d+$", address)):
        raise HeadrestError(
            f"{address}: neither a scheduler file nor an address such as tcp://host:8786"
        )


@contextmanager
def _connect(address):
    check_address(address)
    from distributed import Client

    where = "scheduler_file" if os.path.isfile(address) else "address"
    try:
        client = Client(**{where: str(address)}, set_as_default=False)
    except (OSError, ValueError) as error:
        raise HeadrestError(f"{address}: no scheduler answers there") from error
    with client:
        yield client


def _result(future, address):
    from distributed import KilledWorker

    try:
        return future.result()
    except HeadrestError:
        raise
    except KilledWorker:
        return None
    except Exception as error:
        raise HeadrestError(
            f"{address}: the cluster ended the work ({type(error).__name__}); does the scheduler "
            f"still run, and has each worker headrest {__version__}?"
        ) from error


def _run_on_worker(work, task, version):
    if version != __version__:
        raise HeadrestError(f"a worker has headrest {__version__}, and not {version} as you")
    configure_worker(threads=1)
    return work(task)
