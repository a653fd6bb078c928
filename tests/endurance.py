"""Clean one series after another in one process, and see whether it grows.

`python tests/endurance.py --slices 200 --matrix 512 --times 20` prints one line of JSON: the peak
of the process in MB, and by how much it grew from the third series to the last. `--leak` keeps
every series, to show that it would be seen.
"""

import argparse
import json
import re
import resource
import tempfile
from pathlib import Path

import numpy as np
from conftest import head_hu, make_series
from tqdm import tqdm

from headrest import clean_series, read_series


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb():
    # Not ru_maxrss: at first that is the peak of the parent process.
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--method", default="kmeans")
    parser.add_argument("--leak", action="store_true")
    options = parser.parse_args()
    zoom = options.matrix // 64
    kept, sizes = [], []
    with tempfile.TemporaryDirectory() as folder:
        hu = np.kron(head_hu(), np.ones((zoom, zoom), int))
        make_series(Path(folder, "scan"), options.slices, hu=hu, PixelSpacing=[3.5 / zoom] * 2)
        for n in tqdm(range(options.times)):
            series = read_series(Path(folder, "scan"))
            clean_series(series, Path(folder, f"out-{n}"), method=options.method)
            if options.leak:
                kept.append((series, series.hu))
            sizes.append(resident_mb())
    print(json.dumps({"peak": round(peak_mb()), "growth": round(sizes[-1] - sizes[2], 1)}))


if __name__ == "__main__":
    main()
