"""A training set that is drawn while a network already learns from it."""

import json
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from headrest.errors import HeadrestError
from headrest.files import alone, whole_folder
from headrest.phantom import synthesize
from headrest.training import TrainingSet
from headrest.workers import in_processes

ARRAYS = {"slices.npy": np.int16, "truth.npy": np.uint8}

DRAWN, TOUCHING = 1, 2
"""What is noted of a patient who is there, and of one whom the support touches besides."""


class Patient(NamedTuple):
    """Whom `headrest.phantom.synthesize` draws: a seed, and the contact asked for."""

    seed: int
    contact: str | None = None


class GrowingSet:
    """One slice each of patients who are drawn in their order, some of them perhaps later.

    Parameters
    ----------
    folder : path; gets slices.npy and truth.npy, of their full length from the beginning,
        drawn.npy, a number a patient, and patients.json.
    patients : sequence of Patient
    matrix : int

    Raises
    ------
    HeadrestError
        Where the folder holds other patients, or is damaged.
    """

    def __init__(self, folder, patients, matrix=512):
        self.folder, self.patients, self.matrix = Path(folder), list(patients), matrix
        self.failed = None
        wanted = {"patients": [list(one) for one in self.patients], "matrix": matrix}
        if not self.folder.exists():
            self._begin(wanted)
        try:
            held = json.loads((self.folder / "patients.json").read_text())
            self.drawn = _open(self.folder / "drawn.npy")
        except (OSError, ValueError) as error:
            raise HeadrestError(f"{folder}: no set that grows ({error})") from error
        if held != wanted:
            raise HeadrestError(f"{folder}: holds other patients; choose another folder")

    def _begin(self, wanted):
        n, size = len(self.patients), self.matrix
        with whole_folder(self.folder) as aside:
            for name, dtype in ARRAYS.items():  # no disk is taken before a slice is written
                np.lib.format.open_memmap(aside / name, "w+", dtype, (n, size, size))
            np.save(aside / "drawn.npy", np.zeros(n, np.uint8))
            (aside / "patients.json").write_text(json.dumps(wanted))

    @contextmanager
    def being_drawn(self, jobs):
        """Draw who is missing, in `jobs` processes, while the block runs; what is there stays."""
        with alone(self.folder):
            over = threading.Event()
            thread = threading.Thread(target=self._draw, args=(jobs, over))
            thread.start()
            try:
                yield self
            finally:
                over.set()
                thread.join()

    def _draw(self, jobs, over):
        missing = np.flatnonzero(self.drawn == 0).tolist()
        tasks = [(i, *self.patients[i]) for i in missing]
        work = partial(_draw_one, folder=self.folder, matrix=self.matrix)
        bar = tqdm(total=len(self.drawn), initial=len(self.drawn) - len(tasks), desc="patients")
        try:
            with bar:
                for task, done in in_processes(work, tasks, jobs):
                    if done is None:
                        raise HeadrestError(f"a process died over patient {task[1]}")
                    bar.update()
                    if over.is_set():
                        return
        except Exception as error:
            self.failed = error

    def wait(self, count):
        """Return as soon as the first `count` patients are there: int, `count`."""
        while not self.drawn[:count].all():
            if self.failed:
                raise HeadrestError("patients cannot be drawn") from self.failed
            time.sleep(0.1)
        return count

    def data(self):
        """Everybody, also those to come, whose slices are empty yet: TrainingSet.

        Labels are the exact truth; of contacts is known what is known when this is called.
        """
        n = len(self.patients)
        slices, truth = (_open(self.folder / name) for name in ARRAYS)
        names = np.array([f"synthetic-{one.seed}" for one in self.patients])
        nothing = np.full(n, ""), self.drawn == TOUCHING
        return TrainingSet(slices, truth, names, np.zeros(n, int), nothing[0], truth, nothing[1])


def _open(path):
    return np.lib.format.open_memmap(path, "r+")


def _draw_one(task, folder, matrix):
    index, seed, contact = task
    study = synthesize(seed, matrix=matrix, slices=1, contact=contact)
    _open(folder / "slices.npy")[index] = np.maximum(study.hu[0], -1024)
    _open(folder / "truth.npy")[index] = study.device[0] & ~study.ignore[0]
    _open(folder / "drawn.npy")[index] = TOUCHING if study.contact[0] else DRAWN
    return True
