"""Make the weights that ship, from seeds alone, in one resumable command."""

from dataclasses import asdict, replace
from itertools import count, cycle, islice
from pathlib import Path

from headrest.phantom import LIVING, limb_center, sample_parameters
from headrest.segment.pretrained import write_weights
from headrest.segment.unet import PRESETS
from headrest.train.growing import GrowingSet, Patient
from headrest.train.loop import Settings, load_network, train
from headrest.util.errors import HeadrestError
from headrest.util.machine import machine
from headrest.util.version import __version__

SHIPPED = Settings(
    "wide", epochs=40, examples=2400, halved=24, optimizer="muon", rate=1e-3, batch=16
)
"""How the network that ships is trained."""

HELD_OUT = 0.03
"""Share of the patients, the first ones, who judge the network and never teach it."""

AT_FIRST, COMPLETE = 0.15, 0.9
"""Share of the patients whom the first epoch knows; share of the epochs after which all are known.
In between their number grows evenly, so that training need not wait until the last one is drawn."""

FIVE = ("plain",) * 4 + ("pressed",)
ROUND = FIVE * 4 + ("plain",) * 3 + ("limbs", "pressed")
"""Whom to draw, in turn: heads as they come; ears that a holder presses, in a slice that crosses
them; arms or hands beside the head, in a wide field. The last two are rare among patients as they
come, or never drawn unasked, and first networks got them wrong."""

BEHIND = {"pressed": 100_000, "limbs": 200_000}
"""How far behind the others' their seeds begin."""

WIDE_MM = 280.0
"""A field of view that shows what lies beside a head."""

EAR_MM = (-62.0, -18.0)
"""Where a slice crosses the ears, along the table from the middle of the head."""


def make_weights(folder, patients=8000, seed=10_000, jobs=2, settings=SHIPPED):
    """Draw synthetic patients, train a network on them meanwhile, and write weights and card.

    Parameters
    ----------
    folder : path
        Gets set/, run/, headrest.npz and headrest.json. Whoever is drawn is not drawn again, and
        training goes on after its last epoch.
    patients : int, one slice of 512 x 512 each.
    seed : int, of the first patient.
    jobs : int, processes that draw.
    settings : headrest.train.loop.Settings; who is held out is chosen here.

    Returns
    -------
    dict, the card.
    """
    folder = Path(folder)
    chosen = choose_patients(patients, seed)
    kept = chosen[: max(round(HELD_OUT * patients), 1)]
    learned = patients - len(kept)
    if learned < settings.batch:
        raise HeadrestError(f"{patients} patients are too few for batches of {settings.batch}")
    growing = GrowingSet(folder / "set", chosen)
    settings = replace(settings, held_out=[f"synthetic-{one.seed}" for one in kept])
    with growing.being_drawn(jobs):
        growing.wait(len(kept) + 1)
        history = train(
            growing.data(),
            folder / "run",
            known=lambda epoch: growing.wait(known(epoch, settings.epochs, patients)),
            **asdict(settings),
        )
    network = load_network(folder / "run")
    card = {
        "what": "probability of a head support in a CT slice",
        "headrest": __version__,
        "architecture": {"preset": settings.preset} | PRESETS[settings.preset],
        "data": {
            "patients": patients,
            "pressed": sum(one.contact == "pressed" for one in chosen),
            "limbs": sum(one.with_limbs for one in chosen),
            "first_seed": seed,
            "real": 0,
        },
        "training": asdict(settings)
        | {
            "held_out": len(kept),
            "learned": learned,
            "steps": settings.epochs * ((settings.examples or learned) // settings.batch),
        },
        "training_hours": round(_hours(folder / "run"), 2),
        "machine": machine(),
        "results": {"held-out synthetic patients, network alone": history[-1]},
        "licence": "MIT",
    }
    return write_weights(folder, network, card)


def choose_patients(patients, seed):
    """Patients of the kinds of `ROUND`: list of Patient."""
    pressed = filter(_crosses_pressed_ears, count(seed + BEHIND["pressed"]))
    limbs = filter(_shows_limbs, count(seed + BEHIND["limbs"]))
    kinds = {
        "plain": (Patient(n) for n in count(seed)),
        "pressed": (Patient(n, contact="pressed") for n in pressed),
        "limbs": (Patient(n, with_limbs=True) for n in limbs),
    }
    return [next(kinds[kind]) for kind in islice(cycle(ROUND), patients)]


def known(epoch, epochs, patients):
    """How many patients an epoch, from 1 on, knows.

    Examples
    --------
    >>> [known(epoch, 5, 100) for epoch in range(1, 6)]
    [15, 39, 64, 88, 100]
    """
    if epoch >= COMPLETE * epochs:
        return patients
    grown = AT_FIRST + (1 - AT_FIRST) * (epoch - 1) / (COMPLETE * epochs - 1)
    return min(round(patients * grown), patients)


def _crosses_pressed_ears(seed):
    drawn = sample_parameters(seed, contact="pressed", matrix=512, slices=1)
    low, high = EAR_MM
    return drawn["kind"] in LIVING and low <= drawn["protocol"]["z_mm"][0] <= high


def _shows_limbs(seed):
    drawn = sample_parameters(seed, with_limbs=True, matrix=512, slices=1)
    protocol = drawn["protocol"]
    field_mm = protocol["pixel_mm"] * protocol["matrix"]
    cut = [limb_center(limb, protocol["z_mm"][0]) for limb in drawn["limbs"]]
    seen = any(at is not None and abs(at).max() < field_mm / 2 for at in cut)
    return seen and field_mm >= WIDE_MM


def _hours(run):
    """From the first moment of a run, when its lock was made, to its last epoch."""
    last = max(path.stat().st_mtime for path in (run / "frames").glob("epoch_*"))
    return (last - (run / ".lock").stat().st_mtime) / 3600
