"""Command line: python -m headrest COMMAND."""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Sequence

from headrest.clean.page import clean_and_report, print_message
from headrest.segment.pretrained import PROVIDERS
from headrest.segment.support import METHODS
from headrest.train.checkpoints import Settings
from headrest.util import HeadrestError, __version__

COMMANDS = """\
clean:
  clean         write a cleaned copy of every axial CT series in a folder
data:
  fetch         download a real scan by name
  synthesize    write synthetic patients with their exact truth, as DICOM
network:
  dataset       write a training set from scans and masks
  train         train a network on a training set
  export        write a trained network as ONNX, for clean --weights
  make-weights  train a network on synthetic patients, from seeds
  video         show the epochs of a training run as a video
evaluate:
  score         compare a cleaned series with a reference
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0 on success."""
    options = vars(build_parser().parse_args(arguments))
    run = options.pop("run")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that its encoding lacks, in a pipe
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = run(**options) or 0
        sys.stdout.flush()  # a closed pipe fails here
        return status
    except HeadrestError as error:
        print(f"headrest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        how = "--resume" if options.get("resume") is False else "the same command"
        print(f"headrest: stopped; {how} goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="headrest",
        description="Find the support in head CT and remove it.",
        epilog="headrest COMMAND --help lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"headrest {__version__}")
    titles: dict = {"metavar": "COMMAND", "title": "commands", "description": COMMANDS}
    commands = parser.add_subparsers(required=True, **titles)
    for add_commands in (_add_clean, _add_data, _add_network, _add_score):
        add_commands(commands)
    return parser


def _add_clean(commands):
    parser = _add_command(commands, "clean", clean_and_report)
    add = parser.add_argument
    add("source", metavar="SOURCE", type=_path, help="folder of DICOM or NIfTI, or a file")
    add("destination", metavar="DESTINATION", type=_path, help="folder for the cleaned series")
    add = parser.add_argument_group("what is removed").add_argument
    add("--method", choices=METHODS, default="network", help="kmeans leaves support that touches")
    add("--weights", type=_path, metavar="FILE.onnx", help="network that `export` wrote")
    add("--provider", choices=PROVIDERS, help="processor of the network (cuda if there is one)")
    add("--mask", type=_path, metavar="FILE", help="remove this corrected mask (NIfTI, SEG)")
    add("--patient-only", action="store_true", help="fill everything that is not patient")
    add = parser.add_argument_group("what is written beside the cleaned series").add_argument
    add("--segmentation", action="store_true", help="DICOM Segmentation of support and patient")
    add("--labelmap", action="store_true", help="the same as a Label Map Segmentation")
    add("--structures", action="store_true", help="the same as an RT Structure Set")
    add("--nifti", action="store_true", help="cleaned image and labels as NIfTI")
    add("--nifti-resample", action="store_true", help="the same; uneven or tilted slices resampled")
    text = "probability by the network, before refinement and boundary"
    add("--probability", action="store_true", help=text)
    add = parser.add_argument_group("how slices are written").add_argument
    add("--compress", action="store_true", help="compress losslessly, as the source")
    add("--drop-private", action="store_true", help="delete private elements")
    add = parser.add_argument_group("how series are read").add_argument
    add("--acquisition", type=int, metavar="N", help="only images with this Acquisition Number")
    add("--by-instance-number", action="store_true", help="sort images that have no position")
    text = "for images without Rescale Slope and Intercept, which are refused otherwise"
    add("--default-rescale", type=float, nargs=2, metavar=("SLOPE", "INTERCEPT"), help=text)
    add("--allow-missing", action="store_true", help="leave damaged files of a series out")
    add = parser.add_argument_group("review").add_argument
    add("--report", type=_path, metavar="FILE.html", help="write a page with images of all series")
    add("--identifiers", action="store_true", help="show folder and patient names on that page")
    text = "write series that may have lost more of the patient to review/ instead"
    add("--accept-ml", type=_number(float, 0), metavar="ML", help=text)
    add = parser.add_argument_group("processes").add_argument
    add("--jobs", type=_number(int, 1), default=1, metavar="N", help="series cleaned in parallel")
    add("--scheduler", metavar="ADDRESS", help="Dask scheduler, or its file, that does the work")


def _add_data(commands):
    add = _add_command(commands, "fetch", _fetch).add_argument
    add("name", metavar="NAME", nargs="?", help="for example ge-head")
    add("--list", action="store_true", help="list all scans with their licences")
    add = _add_command(commands, "synthesize", _synthesize).add_argument
    add("out", metavar="OUT", type=_path, help="folder for the patients")
    add("--patients", type=_number(int, 1), default=10, metavar="N", help="number of patients (10)")
    add("--seed", type=_number(int, 0), default=0, help="seed of the first patient (0)")
    add("--jobs", type=_number(int, 1), default=1, metavar="N", help="patients in parallel (1)")
    add("--slices", type=_number(int, 1), metavar="N", help="slices per patient (random)")
    add("--matrix", type=_number(int, 16), metavar="N", help="rows and columns (random)")
    add("--region", choices=("head", "chest"), default="head", help="(head)")
    add = _add_command(commands, "dataset", _dataset).add_argument
    add("scans", metavar="SCANS", type=_path, help="folder of DICOM or NIfTI, or a file")
    add("masks", metavar="MASKS", type=_path, help="folder of masks: NIfTI, SEG, .npz")
    add("data", metavar="DATA", type=_path, help="folder for the training set")
    add("--name", default="manual", help="name of the labels (manual)")
    add("--matrix", type=_number(int, 16), default=512, metavar="N", help="rows, columns (512)")
    add("--synthetic", type=_number(int, 0), default=200, metavar="N", help="patients added (200)")
    add("--jobs", type=_number(int, 1), default=2, metavar="N", help="patients in parallel (2)")


def _fetch(name, list):
    """Download a real scan from its publisher, check the hash of each file, and print its folder.

    Nothing is downloaded twice. HEADREST_DATA names a folder to use instead of the cache of the
    platform.
    """
    from headrest.datasets import fetch, fetch_idc, listing

    if list or not name:
        print(listing())
    else:
        print((fetch_idc if name.startswith("idc-") else fetch)(name))


def _synthesize(out, patients, seed, jobs, **options):
    """Write synthetic CT series below OUT, one folder per patient, with the truth in truth.npz.

    Patients that are complete are not made again.
    """
    from headrest.phantom import synthesize_patients

    synthesize_patients(out, patients, seed, jobs, **options)


def _dataset(scans, masks, data, jobs, **options):
    """Write a training set from scans, and masks that people drew or corrected.

    A DICOM Segmentation names its scan by UID. Other masks are named as their scan: as its Series
    Instance UID, its NIfTI file, or its folder of DICOM files. Values are 0 background, 1 support,
    2 patient, 255 ignored; a mask of one value is of the support alone. Larger slices are cropped.
    SCANS and MASKS can both be a folder that `synthesize` wrote.
    Synthetic patients are added, so that a network does not forget other scanners.
    """
    from headrest.train.masks import dataset_from_masks

    dataset_from_masks(scans, masks, data, **options, on_message=print_message, jobs=jobs)
    print(f"next: train {data} RUN --labels {options['name']} --start-from pretrained")


def _add_network(commands):
    add = _add_command(commands, "train", _train).add_argument
    add("data", metavar="DATA", type=_path, help="folder of a training set, see notebook 02")
    add("run_folder", metavar="RUN", type=_path, help="folder for checkpoints and frames")
    losses = ("dice", "dense", "cross-entropy")
    settings: dict[str, dict] = {
        "preset": {"help": "original, valid3, standard, wide or small; not with --start-from"},
        "start_from": {
            "type": _path,
            "metavar": "NET",
            "help": "train this further, but for its encoder: pretrained, FILE.onnx or RUN",
        },
        "epochs": {"type": _number(int, 1), "metavar": "N"},
        "slices_per_epoch": {"type": _number(int, 1), "metavar": "N", "help": "default: all"},
        "half_resolution_epochs": {"type": _number(int, 0), "metavar": "N", "help": "first epochs"},
        "labels": {"metavar": "NAME", "help": "of those in DATA (truth, or the only ones)"},
        "loss": {"choices": losses, "help": "dice; dense with --start-from"},
        "optimizer": {"choices": ("muon", "adam", "sgd"), "help": "muon; adam with --start-from"},
        "learning_rate": {"type": _number(float, 1e-12), "metavar": "X", "help": "the highest"},
        "batch_size": {"type": _number(int, 1), "metavar": "N", "help": "slices per step"},
        "seed": {"type": _number(int, 0), "metavar": "N"},
    }
    for name, options in settings.items():
        flag = "--" + name.removesuffix("_epochs").replace("_", "-")
        default = None if name == "labels" else getattr(Settings, name)
        text = options.pop("help", "") + ("" if default is None else f" ({default})")
        add(flag, dest=name, default=default, help=text.strip(), **options)
    add("--resume", action="store_true", help="continue the run in RUN")
    add = _add_command(commands, "export", _export).add_argument
    add("run_folder", metavar="RUN", type=_path, help="folder that `train` wrote")
    add("out", metavar="OUT.onnx", type=_path)
    add = _add_command(commands, "make-weights", _make_weights).add_argument
    add("folder", metavar="FOLDER", type=_path)
    add("--patients", type=_number(int, 1), default=8000, metavar="N", help="(8000)")
    add("--seed", type=_number(int, 0), default=10_000, help="seed of the first patient (10000)")
    add("--jobs", type=_number(int, 1), default=2, metavar="N", help="patients in parallel (2)")
    add = _add_command(commands, "video", _video).add_argument
    add("run_folder", metavar="RUN", type=_path, help="folder that `train` wrote")
    add("out", metavar="OUT", type=_path, help=".mp4 (H.264), or a small .webp or .gif")


def _train(data, run_folder, resume, **settings):
    """Train a network on the training set in DATA.

    Each epoch is evaluated on held-out patients and stored in RUN. A run that was stopped ends
    with the same weights if it is continued with --resume.
    """
    from headrest.train.dataset import read_training_set
    from headrest.train.loop import train

    training_set = read_training_set(data)
    only = next(iter(training_set.labels)) if len(training_set.labels) == 1 else "truth"
    settings["labels"] = settings["labels"] or only
    last = train(training_set, run_folder, resume, **settings)[-1]
    without = last["all_background"] == 1  # the Dice of nothing found is 1
    dice = "no held-out support" if without else f"held-out Dice {last['dice']:.3f}"
    accuracy = f"pixel accuracy {last['accuracy']:.4f} (empty mask: {last['all_background']:.4f})"
    print(f"epoch {last['epoch']}: {dice}, {accuracy}")


def _export(run_folder, out):
    """Write the network of RUN as ONNX, with weights in float16.

    `clean --weights OUT.onnx` finds supports with it, without Keras.
    """
    from headrest.segment.export import export_network
    from headrest.segment.pretrained import weights_hash
    from headrest.train.loop import load_network

    export_network(load_network(run_folder), out)
    print(f"{out}: SHA-256 {weights_hash(out)}; use it with: clean --weights {out}")


def _make_weights(folder, patients, seed, jobs):
    """Train a network on one slice each of synthetic patients; write weights and model card.

    If it is stopped, the same command continues after the last epoch. It takes some hours on two
    cores.
    """
    from headrest.train.synthetic import make_weights

    card = make_weights(folder, patients, seed, jobs)
    print(f"{folder}: {card['parameters']} parameters, SHA-256 {card['sha256'][:12]}")


def _video(run_folder, out):
    """Encode the predictions of ten slices as a video, one frame per epoch of RUN."""
    from headrest.show.video import write_video

    print(f"{out}: {write_video(run_folder, out)} frames, the first before training")


def _add_score(commands):
    add = _add_command(commands, "score", _score).add_argument
    add("original", metavar="ORIGINAL", type=_path, help="folder of the scan")
    add("cleaned", metavar="CLEANED", type=_path, help="folder of its cleaned copy")
    add("reference", metavar="REFERENCE", type=_path, help=".npz, see data/reference")


def _score(original, cleaned, reference):
    """Print residual support and removed patient as JSON.

    All voxels that differ between the two series count as removed, so any tool can be scored.
    """
    from headrest.evaluate.score import score

    print(json.dumps(score(original, cleaned, reference)))


def _add_command(commands, name, run):
    parser = commands.add_parser(name, description=run.__doc__)
    parser.set_defaults(run=run)
    return parser


def _number(kind, low):
    """Type of an argument: a finite number of at least `low`."""

    def number(text):
        value = kind(text)
        if not low <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is out of range: at least {low}")
        return value

    return number


def _path(text):
    if not text:
        raise argparse.ArgumentTypeError("empty; write . for the current folder")
    return text


if __name__ == "__main__":
    sys.exit(main())
