"""The same tasks on a Dask cluster that stands already.

Each worker needs this version of headrest, and must find source and destination under the same
paths. It is best started with one thread, ``dask worker tcp://host:8786 --nthreads 1``: TensorFlow
takes 1.2 GB for each series that is cleaned at a time.
"""

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from typing import Any

from headrest.util.errors import HeadrestError
from headrest.util.version import __version__
from headrest.util.workers import settle

try:
    from distributed import Client, KilledWorker, as_completed
except ImportError as error:
    raise HeadrestError("distributed: pip install distributed, to use a scheduler") from error

AHEAD = 2000
"""Tasks that the scheduler knows of at a time: more than it has workers."""

MALLOPT = {-1: 268435456, -3: 67108864}
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc, in bytes (mallopt(3)). Dask has its workers give
memory back to the system so eagerly that half their time goes into taking it anew."""


def on_cluster(
    work: Callable[[Any], Any], tasks: Iterable[Any], address: str
) -> Iterator[tuple[Any, Any]]:
    """Do tasks on a cluster. A task whose worker dies is done by another one.

    Parameters
    ----------
    work : callable, task -> result; a name of a module that the workers have.
    tasks : iterable
    address : str
        Of the scheduler, such as "tcp://host:8786", or the path of its scheduler file.

    Yields
    ------
    (task, result) as they come; the result is None where one worker after the other has died over
    a task.

    Raises
    ------
    HeadrestError
        Where no scheduler answers, or it goes away, or the workers cannot do such tasks.
    """
    with _connected(address) as client:
        waiting, given = iter(tasks), {}

        def give(count):
            for task in islice(waiting, count):
                future = client.submit(_on_worker, work, task, __version__, pure=False)
                given[future.key] = task
                yield future

        done = as_completed(list(give(AHEAD)), loop=client.loop)
        for future in done:
            yield given.pop(future.key), _result(future, address)
            done.update(list(give(1)))


@contextmanager
def _connected(address):
    where = {"scheduler_file": str(address)} if os.path.isfile(address) else {"address": address}
    try:
        client = Client(**where, set_as_default=False)
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


def _on_worker(work, task, version):
    if version != __version__:
        raise HeadrestError(f"a worker has headrest {__version__}, and not {version} as you")
    _settle()
    return work(task)


@cache
def _settle():
    settle(threads=1)
    with suppress(AttributeError, OSError, TypeError):  # another system than Linux with glibc
        for parameter, value in MALLOPT.items():
            ctypes.CDLL(None).mallopt(parameter, value)
