"""Make the weights that ship, from seeds alone, in one resumable command."""

from dataclasses import asdict, replace
from itertools import chain, count, islice
from pathlib import Path

import headrest
from headrest.batches import split
from headrest.errors import HeadrestError
from headrest.fit import Settings, load_network, train
from headrest.network import PRESETS, get_weights
from headrest.phantom import draw_parameters
from headrest.ratios import machine
from headrest.shipped import write_weights
from headrest.synthetic import synthetic_studies
from headrest.training import read_training_set, write_training_set

SCHOOL = Settings(preset="standard", epochs=6, rate=2e-3, held_out=0.03)
"""What a network learns from heads as they come."""

EARS = replace(SCHOOL, epochs=4, rate=1.5e-3)
"""And then from these together with as many as a quarter whose ears a holder presses: what a
first network got wrong on real heads, and what is rare among drawn ones."""

EAR_MM = (-62.0, -18.0)
"""Where a slice crosses the ears, along the table from the middle of the head."""

ONE_SLICE = {"matrix": 512, "slices": 1}


def make_weights(folder, patients=4000, seed=10_000, jobs=2, school=SCHOOL, ears=EARS):
    """Draw synthetic patients, train on them in two stages, and write weights and card.

    Parameters
    ----------
    folder : path
        Gets set/, school/, ears/, headrest.npz and headrest.json. What is complete is not made
        again, and training goes on after its last epoch.
    patients : int
        Synthetic heads of the first stage, one slice of 512 x 512 each; a quarter as many with
        pressed ears are added for the second.
    seed : int, of the first patient.
    jobs : int, processes that draw.
    school, ears : headrest.fit.Settings of the two stages.

    Returns
    -------
    dict, the card.
    """
    folder = Path(folder)
    pressed = list(islice(filter(_crosses_pressed_ears, count(seed + patients)), patients // 4))
    if not (folder / "set").exists():
        heads = synthetic_studies(patients, seed, jobs, **ONE_SLICE)
        more = synthetic_studies(pressed, jobs=jobs, contact="pressed", **ONE_SLICE)
        write_training_set(folder / "set", chain(heads, more))
    data = read_training_set(folder / "set")
    if list(data.patient) != [f"synthetic-{n}" for n in (*range(seed, seed + patients), *pressed)]:
        raise HeadrestError(f"{folder}: holds other patients; choose another folder")
    heads = data.take(slice(patients))
    train(heads, folder / "school", **asdict(school))
    known = get_weights(load_network(folder / "school"))
    ears = replace(ears, held_out=_held_out(data, patients, school))
    history = train(data, folder / "ears", start=known, **asdict(ears))
    card = {
        "what": "probability of a head support in a CT slice",
        "headrest": headrest.__version__,
        "architecture": {"preset": school.preset} | PRESETS[school.preset],
        "data": {"patients": len(data), "pressed": len(pressed), "first_seed": seed, "real": 0},
        "training": [_summary(heads, school), _summary(data, ears)],
        "training_hours": _hours(folder / "school") + _hours(folder / "ears"),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_weights(folder, load_network(folder / "ears"), card)


def _crosses_pressed_ears(seed):
    drawn = draw_parameters(seed, contact="pressed", **ONE_SLICE)
    low, high = EAR_MM
    flesh = drawn["kind"] not in ("plastic", "water")
    return flesh and low <= drawn["protocol"]["z_mm"][0] <= high


def _held_out(data, patients, school):
    """Whom the first stage did not learn from, and the same share of those who are new."""
    share, names = school.held_out, data.patient
    parts = names[:patients], names[patients:]
    return [str(n) for part in parts for n in part[split(part, share, school.seed)[1]]]


def _summary(data, settings):
    learned, kept = split(data.patient, settings.held_out, settings.seed)
    steps = settings.epochs * (len(learned) // settings.batch)
    return asdict(settings) | {"held_out": len(kept), "learned": len(learned), "steps": steps}


def _hours(run):
    """From the first moment of a run, when its lock was made, to its last epoch."""
    last = max(path.stat().st_mtime for path in (run / "frames").glob("epoch_*"))
    return round((last - (run / ".lock").stat().st_mtime) / 3600, 2)
