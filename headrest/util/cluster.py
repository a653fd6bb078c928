"""Tasks on an existing Dask cluster.

Each worker needs this version of headrest, the same paths to source and destination, and one
thread, since each thread cleans a series of its own: ``dask worker tcp://host:8786 --nthreads 1``.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from headrest.util import __version__
from headrest.util.errors import HeadrestError
from headrest.util.workers import configure_worker

try:
    from distributed import Client, KilledWorker, as_completed
except ImportError as error:
    raise HeadrestError("distributed: pip install distributed, to use a scheduler") from error

SUBMITTED_TASKS = 2000
"""Tasks that the scheduler gets at a time: more than it has workers."""


def run_on_cluster(
    work: Callable[[Any], Any], tasks: Iterable[Any], address: str
) -> Iterator[tuple[Any, Any]]:
    """Run tasks on a cluster. If a worker dies, another one repeats its task.

    Parameters
    ----------
    work : callable, task -> result; a function of a module that the workers can import.
    tasks : iterable
    address : str, address of the scheduler ("tcp://host:8786"), or path of its scheduler file.

    Yields
    ------
    (task, result) in the order of completion. The result is None if several workers died over it.

    Raises
    ------
    HeadrestError
        If no scheduler answers, it goes away, or the workers cannot run the tasks.
    """
    with _connect(address) as client:
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
    """Raise a HeadrestError if this is neither a scheduler file nor an address."""
    if not (os.path.isfile(address) or "://" in address or re.search(r":\d+$", address)):
        raise HeadrestError(
            f"{address}: neither a scheduler file nor an address such as tcp://host:8786"
        )


@contextmanager
def _connect(address):
    check_address(address)
    where = "scheduler_file" if os.path.isfile(address) else "address"
    try:
        client = Client(**{where: str(address)}, set_as_default=False)
    except (OSError, ValueError) as error:
        raise HeadrestError(f"{address}: no scheduler answers there") from error
    with client:
        yield client


def _result(future, address):
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
