"""The command line: python -m headrest COMMAND."""

import argparse
import json
import os
import sys

from tqdm.auto import tqdm

from headrest.clean.report import check_place, write_report
from headrest.clean.tree import clean_tree
from headrest.segment.support import METHODS
from headrest.util.errors import HeadrestError
from headrest.util.version import __version__


def main(arguments=None):
    """Run a command; return its exit status: 0 only if all went well."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except HeadrestError as error:
        print(f"headrest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        how = "--resume" if getattr(options, "resume", None) is False else "the same command"
        print(f"headrest: stopped; {how} goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever was reading, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="headrest", description="Take the headrest out of CT.")
    parser.add_argument("--version", action="version", version=f"headrest {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    clean = commands.add_parser(
        "clean",
        help="write a cleaned copy of every axial CT series below a folder",
        description="Write a derived copy of every axial CT series below SOURCE, without the "
        "support. A line a series says what was removed, and in which slices the support touches "
        "the patient, the result is uncertain, or nothing was found. Exit status 0: every series "
        "was written.",
    )
    clean.add_argument("source", metavar="SOURCE", help="folder of DICOM files, searched whole")
    clean.add_argument("destination", metavar="DESTINATION", help="folder for the cleaned series")
    clean.add_argument(
        "--method", choices=METHODS, default="network", help="kmeans leaves what touches"
    )
    clean.add_argument(
        "--outside", action="store_true", help="blank all foam and linen outside the patient too"
    )
    clean.add_argument(
        "--segmentation",
        action="store_true",
        help="write what was found as a DICOM Segmentation too (needs highdicom)",
    )
    clean.add_argument(
        "--nifti", action="store_true", help="write what was found as NIfTI too (needs nibabel)"
    )
    clean.add_argument(
        "--compress", action="store_true", help="compress slices as their source, without loss"
    )
    clean.add_argument(
        "--drop-private", action="store_true", help="leave out private elements, kept otherwise"
    )
    clean.add_argument(
        "--acquisition", type=int, metavar="N", help="only images with this Acquisition Number"
    )
    clean.add_argument(
        "--by-instance-number", action="store_true", help="sort images without a position so"
    )
    clean.add_argument(
        "--default-rescale",
        type=float,
        nargs=2,
        metavar=("SLOPE", "INTERCEPT"),
        help="for images that say nothing of it, which are refused otherwise",
    )
    clean.add_argument(
        "--report", metavar="FILE.html", help="write a page with a table and pictures of all series"
    )
    clean.add_argument(
        "--identifiers", action="store_true", help="name source folders and patients on that page"
    )
    clean.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="series cleaned side by side, 1.2 GB each"
    )
    clean.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler, or its file, that does the work"
    )
    clean.set_defaults(run=_clean)
    score = commands.add_parser(
        "score",
        help="score a cleaned series against a reference",
        description="Print as JSON what was left of the support and what was lost of the patient: "
        "whatever differs between the two series has been removed, by whichever tool.",
    )
    score.add_argument("original", metavar="ORIGINAL", help="folder of the scan")
    score.add_argument("cleaned", metavar="CLEANED", help="folder of its cleaned copy")
    score.add_argument("reference", metavar="REFERENCE", help=".npz, see data/reference")
    score.set_defaults(run=_score)
    synthesize = commands.add_parser(
        "synthesize",
        help="write synthetic patients on supports, as DICOM with their exact truth",
        description="Write synthetic CT series below OUT, one folder a patient, the "
        "truth beside the slices (truth.npz). Patients that are complete are not made again.",
    )
    synthesize.add_argument("out", metavar="OUT", help="folder for the patients")
    synthesize.add_argument("--patients", type=int, default=10, metavar="N", help="how many (10)")
    synthesize.add_argument("--seed", type=int, default=0, help="of the first patient (0)")
    synthesize.add_argument("--jobs", type=int, default=1, help="patients made side by side (1)")
    synthesize.add_argument("--slices", type=int, help="slices a patient; drawn if not given")
    synthesize.add_argument("--matrix", type=int, help="rows and columns; drawn if not given")
    synthesize.add_argument("--region", choices=("head", "chest"), default="head", help="(head)")
    synthesize.set_defaults(run=_synthesize)
    fetch = commands.add_parser(
        "fetch",
        help="fetch a real scan by name",
        description="Fetch a real scan from where it is published, check it, and print its folder. "
        "Nothing is fetched twice. HEADREST_DATA names another place than the usual cache.",
    )
    fetch.add_argument("name", metavar="NAME", nargs="?", help="such as ge-head")
    fetch.add_argument("--list", action="store_true", help="list what there is, with its licence")
    fetch.set_defaults(run=_fetch)
    _add_training(commands)
    return parser


def _add_training(commands):
    train = commands.add_parser(
        "train",
        help="train a network on a training set",
        description="Train a network on the training set in DATA. Every epoch is judged on "
        "held-out patients and kept in RUN. Stopped at any moment, the same command with "
        "--resume ends with the same weights as if it had never been stopped.",
    )
    train.add_argument(
        "data", metavar="DATA", help="folder that headrest.train.dataset.write_training_set wrote"
    )
    train.add_argument("run_folder", metavar="RUN", help="folder for checkpoints and frames")
    train.add_argument(
        "--preset", default="standard", help="original, valid3, standard, wide or small"
    )
    train.add_argument("--epochs", type=int, default=10, metavar="N")
    train.add_argument(
        "--halved",
        type=int,
        default=0,
        metavar="N",
        help="first epochs, through a window of half the size",
    )
    train.add_argument("--labels", choices=("truth", "kmeans"), default="truth")
    train.add_argument("--loss", choices=("dice", "cross-entropy"), default="dice")
    train.add_argument("--optimizer", choices=("muon", "adam", "sgd"), default="muon")
    train.add_argument("--rate", type=float, help="highest learning rate")
    train.add_argument("--batch", type=int, default=4, metavar="N", help="slices a step")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--resume", action="store_true", help="go on with what is in RUN")
    train.set_defaults(run=_train)
    weights = commands.add_parser(
        "make-weights",
        help="make the weights that ship, from seeds alone",
        description="Draw synthetic patients, train a network on them meanwhile, and write "
        "headrest.npz and its card headrest.json into FOLDER. Stopped at any moment, the same "
        "command goes on after the last epoch. The defaults are those of the weights that ship, "
        "which took an hour and a half on two cores with AVX-512.",
    )
    weights.add_argument("folder", metavar="FOLDER")
    weights.add_argument(
        "--patients",
        type=int,
        default=8000,
        metavar="N",
        help="heads, one slice each; default: %(default)s",
    )
    weights.add_argument("--seed", type=int, default=10_000, help="of the first patient")
    weights.add_argument("--jobs", type=int, default=2, help="patients made side by side")
    weights.set_defaults(run=_make_weights)
    video = commands.add_parser(
        "video",
        help="show the epochs of a training run as a video",
        description="Encode ten slices as every epoch of RUN predicted them, one frame an epoch.",
    )
    video.add_argument("run_folder", metavar="RUN", help="folder that `train` wrote")
    video.add_argument("out", metavar="OUT", help=".mp4 (H.264), or .webp or .gif, small")
    video.set_defaults(run=_video)
    benchmark = commands.add_parser(
        "benchmark",
        help="measure the speed of this machine with headrest, as ratios",
        description="Measure headrest beside the usual ways of doing the same, in turns, and "
        "print the ratios of their CPU times.",
    )
    benchmark.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    benchmark.add_argument("--repeats", type=int, default=5, metavar="N", help="medians of N")
    benchmark.set_defaults(run=_benchmark)


def _clean(options):
    names = ("method", "outside", "segmentation", "nifti", "compress", "drop_private")
    names += ("acquisition", "by_instance_number", "default_rescale")
    choices = {name: getattr(options, name) for name in names}
    if options.report:
        check_place(options.report)
    where = (options.source, options.destination, options.jobs, options.scheduler)
    reports = clean_tree(*where, tell=_tell, **choices)
    if options.report:
        write_report(options.destination, options.report, reports, options.identifiers)
    failed = sum(bool(report.error) for report in reports)
    print(f"{len(reports) - failed} series cleaned, {failed} not")
    return 1 if failed else 0


def _score(options):
    from headrest.evaluate.score import score

    print(json.dumps(score(options.original, options.cleaned, options.reference)))
    return 0


def _fetch(options):
    from headrest.datasets.download import fetch, fetch_idc, listing

    if options.list or not options.name:
        print(listing())
    else:
        print((fetch_idc if options.name.startswith("idc-") else fetch)(options.name))
    return 0


def _synthesize(options):
    from headrest.phantom import synthesize_patients

    drawn = {"slices": options.slices, "matrix": options.matrix, "region": options.region}
    synthesize_patients(options.out, options.patients, options.seed, options.jobs, **drawn)
    return 0


def _train(options):
    from headrest.train.dataset import read_training_set
    from headrest.train.loop import train

    names = ("preset", "epochs", "halved", "labels", "loss", "optimizer", "rate", "batch", "seed")
    choices = {name: getattr(options, name) for name in names}
    data = read_training_set(options.data)
    last = train(data, options.run_folder, options.resume, **choices)[-1]
    print(
        f"epoch {last['epoch']}: held-out Dice {last['dice']:.3f}, pixel accuracy "
        f"{last['accuracy']:.4f} (finding nothing: {last['all_background']:.4f})"
    )
    return 0


def _make_weights(options):
    from headrest.train.release import make_weights

    card = make_weights(options.folder, options.patients, options.seed, options.jobs)
    print(f"{options.folder}: {card['parameters']} parameters, SHA-256 {card['sha256'][:12]}")
    return 0


def _video(options):
    from headrest.show.video import write_video

    print(f"{options.out}: {write_video(options.run_folder, options.out)} epochs")
    return 0


def _benchmark(options):
    from benchmarks import benchmark
    from benchmarks.ratios import report

    from headrest.util.machine import machine

    print(machine())
    lines = list(tqdm(benchmark(options.size, options.repeats), leave=False))
    print(report(lines))
    return 0


def _tell(news):
    tqdm.write(str(news))
    for warning in getattr(news, "warnings", ()):
        tqdm.write(f"  {warning}")


if __name__ == "__main__":
    sys.exit(main())
