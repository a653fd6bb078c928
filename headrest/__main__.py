"""The command line: python -m headrest COMMAND."""

import argparse
import sys

from tqdm.auto import tqdm

from headrest import HeadrestError, __version__, clean_tree
from headrest.clean import METHODS


def main(arguments=None):
    """Run a command; return its exit status: 0 only if all went well."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except HeadrestError as error:
        print(f"headrest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("headrest: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="headrest", description="Take the headrest out of CT.")
    parser.add_argument("--version", action="version", version=f"headrest {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    clean = commands.add_parser(
        "clean",
        help="write a cleaned copy of every axial CT series below a folder",
        description="Write a derived copy of every axial CT series below SOURCE, without the "
        "support. A line a series says what was removed and in which slices the support "
        "touches the patient and was left. Exit status 0: every series was written.",
    )
    clean.add_argument("source", metavar="SOURCE", help="folder of DICOM files, searched whole")
    clean.add_argument("destination", metavar="DESTINATION", help="folder for the cleaned series")
    clean.add_argument("--method", choices=METHODS, default="kmeans")
    clean.set_defaults(run=_clean)
    synthesize = commands.add_parser(
        "synthesize",
        help="write synthetic patients on supports, as DICOM with their exact truth",
        description="Write PATIENTS synthetic head CT series below OUT, one folder a patient, the "
        "truth beside the slices (truth.npz). Patients that are complete are not made again.",
    )
    synthesize.add_argument("out", metavar="OUT", help="folder for the patients")
    synthesize.add_argument("--patients", type=int, default=10, metavar="N")
    synthesize.add_argument("--seed", type=int, default=0, help="of the first patient")
    synthesize.add_argument("--jobs", type=int, default=1, help="patients made side by side")
    synthesize.add_argument("--slices", type=int, help="slices a patient; drawn if not given")
    synthesize.add_argument("--matrix", type=int, help="rows and columns; drawn if not given")
    synthesize.add_argument("--region", choices=("head", "chest"), default="head")
    synthesize.set_defaults(run=_synthesize)
    return parser


def _clean(options):
    reports = clean_tree(options.source, options.destination, options.method, tell=_tell)
    failed = sum(bool(report.error) for report in reports)
    print(f"{len(reports) - failed} series cleaned, {failed} not")
    return 1 if failed else 0


def _synthesize(options):
    from headrest.phantom import synthesize_patients

    drawn = {"slices": options.slices, "matrix": options.matrix, "region": options.region}
    synthesize_patients(options.out, options.patients, options.seed, options.jobs, **drawn)
    return 0


def _tell(news):
    tqdm.write(str(news))
    for warning in getattr(news, "warnings", ()):
        tqdm.write(f"  {warning}")


if __name__ == "__main__":
    sys.exit(main())
