"""Measure what a user waits for, and print each figure beside its aim.

    python tests/benchmarks            P1 P2 P3 P4 P7 P8, some minutes
    python tests/benchmarks P1 P2      only these
    python tests/benchmarks P6 --series 1000

The scans are those in HEADREST_SCANS, or in shared/scans beside the repository, or synthetic ones.
P5, P6 and P9 run only by name: P5 installs the package into a new environment, P6 cleans many
series, P9 runs the notebooks and all tests. Machines differ and are noisy: compare within one run.
"""

import argparse
import os
from multiprocessing import get_context

from lines import LINES, ROW, measure

from headrest.util import machine

QUICK = ("P1", "P2", "P3", "P4", "P7", "P8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests/benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lines", nargs="*", metavar="LINE", help=" ".join(LINES))
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="medians of N (3)")
    parser.add_argument("--series", type=int, default=100, metavar="N", help="series of P6 (100)")
    parser.add_argument("--slices", type=int, default=140, metavar="N", help="slices of P2 (140)")
    options = parser.parse_args()
    if unknown := set(options.lines) - set(LINES):
        parser.error(f"no line {min(unknown)}; choose from {', '.join(LINES)}")
    os.environ["TQDM_DISABLE"] = "1"
    print(machine())
    print(ROW.format("", "what", "figure", "unit", "aim", "met"))
    # A process for each line: the peak memory of a child counts that of its parent (execve(2)).
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in options.lines or QUICK:
            print(*pool.apply(measure, (name, options)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
