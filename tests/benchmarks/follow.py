"""Clean a tree; print seconds and peak memory in MB after each series: follow.py IN OUT."""

import json
import resource
import sys
import time
from itertools import pairwise

from headrest import clean_tree


def main(source: str, destination: str) -> None:
    moments, peaks_mb = [time.perf_counter()], []

    def note(_):
        moments.append(time.perf_counter())
        peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    clean_tree(source, destination, 1, None, note)
    print(json.dumps([[b - a for a, b in pairwise(moments)], peaks_mb]))


if __name__ == "__main__":
    main(*sys.argv[1:])
