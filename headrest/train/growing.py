"""A training set that is drawn while a network already learns from it."""

import json
import os
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from headrest.hounsfield import IGNORE_LABEL
from headrest.phantom import ambiguous_voxels, synthesize
from headrest.train.dataset import TrainingSet
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_folder, lock_folder
from headrest.util.version import __version__
from headrest.util.workers import run_unordered

ARRAYS = {"slices.npy": np.int16, "truth.npy": np.uint8}

DRAWN_FILE, DRAWN, TOUCHING = "drawn.npy", 1, 2
"""What is noted of a patient who is there, and of one whom the support touches besides."""


class Patient(NamedTuple):
    """Whom `headrest.phantom.synthesize` draws: a seed, and what is asked for besides."""

    seed: int
    contact: str | None = None
    with_limbs: bool = False


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
        Where the folder holds other patients, or of another version, or is damaged.
    """

    def __init__(self, folder, patients, matrix=512):
        self.folder, self.patients, self.matrix = Path(folder), list(patients), matrix
        self.thread = self.failed = None
        wanted = {
            "headrest": __version__,  # another one may draw the same seed otherwise
            "patients": [list(one) for one in self.patients],
            "matrix": matrix,
        }
        if not self.folder.exists():
            self._begin(wanted)
        try:
            held = json.loads((self.folder / "patients.json").read_text())
            shapes = [_mapped(self.folder / name).shape for name in (*ARRAYS, DRAWN_FILE)]
        except (OSError, ValueError) as error:
            raise HeadrestError(f"{folder}: no set that grows ({error})") from error
        if held != wanted or shapes != [*[self._shape()] * len(ARRAYS), self._shape()[:1]]:
            raise HeadrestError(f"{folder}: holds other patients; choose another folder")
        self.drawn = _mapped(self.folder / DRAWN_FILE)

    def _shape(self):
        return len(self.patients), self.matrix, self.matrix

    def _begin(self, wanted):
        with atomic_folder(self.folder) as aside:
            for name, dtype in ARRAYS.items():
                np.lib.format.open_memmap(aside / name, "w+", dtype, self._shape())
            np.save(aside / DRAWN_FILE, np.zeros(len(self.patients), np.uint8))
            (aside / "patients.json").write_text(json.dumps(wanted))

    @contextmanager
    def being_drawn(self, jobs):
        """Draw who is missing, in `jobs` processes, while the block runs; what is there stays."""
        with lock_folder(self.folder):
            over = threading.Event()
            self.thread = threading.Thread(target=self._draw, args=(jobs, over))
            self.thread.start()
            try:
                yield self
            finally:
                over.set()
                self.thread.join()

    def _draw(self, jobs, over):
        try:
            missing = np.flatnonzero(self.drawn == 0).tolist()
            tasks = [(i, self.patients[i]) for i in missing]
            work = partial(_draw_one, folder=self.folder, matrix=self.matrix)
            there = len(self.patients) - len(tasks)
            with tqdm(total=len(self.patients), initial=there, desc="patients") as bar:
                for task, done in run_unordered(work, tasks, jobs):
                    if done is None:
                        raise HeadrestError(f"two processes died over patient {task[1].seed}")
                    bar.update()
                    if over.is_set():
                        return
        except BaseException as error:  # whatever ends it, whoever waits must be told
            self.failed = error

    def wait(self, count):
        """Return as soon as the first `count` patients are there: int, `count`.

        Raises
        ------
        HeadrestError
            Where nobody draws them any more.
        """
        while not self.drawn[:count].all():
            drawing = self.thread is not None and self.thread.is_alive()
            if not (drawing or self.drawn[:count].all()):
                why = self.failed or "nobody does"
                raise HeadrestError(f"patients cannot be drawn: {why}") from self.failed
            time.sleep(0.1)
        return count

    def data(self):
        """Everybody, also those to come, whose slices are empty yet: TrainingSet.

        Labels are the exact truth, `IGNORE_LABEL` where a voxel is ambiguous; of contacts is known
        what is known when this is called.
        """
        n = len(self.patients)
        slices, truth = (_mapped(self.folder / name) for name in ARRAYS)
        return TrainingSet(
            slices=slices,
            labels=None,
            patient=np.array([f"synthetic-{one.seed}" for one in self.patients]),
            slice=np.zeros(n, int),
            state=np.full(n, ""),
            truth=truth,
            contact=self.drawn == TOUCHING,
        )


def _mapped(path):
    return np.lib.format.open_memmap(path, "r")


def _draw_one(task, folder, matrix):
    index, patient = task
    study = synthesize(**patient._asdict(), matrix=matrix, slices=1)
    unsure = ambiguous_voxels(study.support_share[0], study.support[0], study.patient[0])
    _write(folder / "slices.npy", index, np.maximum(study.hu[0], -1024))
    _write(folder / "truth.npy", index, np.where(unsure, IGNORE_LABEL, study.support[0]))
    _write(folder / DRAWN_FILE, index, np.array(TOUCHING if study.contact[0] else DRAWN))
    return True


def _write(path, index, array):
    """Onto the disk before anything says that it is there; and through the file, as a full disk
    is an error there, where a memory map would end the process."""
    whole = _mapped(path)
    with open(path, "r+b") as file:
        file.seek(whole.offset + index * array.size * whole.itemsize)
        file.write(array.astype(whole.dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())
