"""README's tables of results; `python tests/readme_tables.py` writes them from data/results."""

import json
import re
from pathlib import Path

from headrest.evaluate import tables as made
from headrest.evaluate.methods import KMEANS, PRETRAINED

ROOT = Path(__file__).parents[1]
README, KEPT = ROOT / "README.md", ROOT / "data" / "results" / "compare_methods_full.json"
COLUMNS = {
    "Dice, free": (("free", "dice"), "{:.3f}"),
    "Dice, touching": (("touching", "dice"), "{:.3f}"),
    "mean per patient": (("all", "case_dice"), "{:.3f}"),
    "Dice, dense": (("all", "dense_dice"), "{:.3f}"),
    "accuracy": (("all", "accuracy"), "{:.3f}"),
    "residual support, %": (("all", "residual_pct"), "{:.1f}"),
    "removed patient, ml": (("all", "lost_ml"), "{:.2f}"),
}
LEFT_OUT = ("worst slice, dense", "dense residual ml")
SCAN_COLUMNS = {name: c for name, c in made.SCAN_COLUMNS.items() if name not in LEFT_OUT}
SCAN_COLUMNS["Dice, dense, K-Means"] = ("kmeans_dice", "{:.3f}")


def read_results():
    return json.loads(KEPT.read_text("utf-8"))


def tables():
    """Two tables: methods on synthetic patients, and the network on real scans."""
    results, rows, scans = read_results(), {}, {}
    for name in made.README_METHODS:
        groups = results["synthetic"][name].items()
        rows[name] = {(group, key): values for group, row in groups for key, values in row.items()}
    for name, found in results["scans"].items():
        scans[f"`{name}`"] = found[PRETRAINED] | {"kmeans_dice": found[KMEANS]["dense_dice"]}
    origin = f"version {results['headrest']}, weights {results['weights']}, {results['date']}"
    synthetic = made.markdown("method", made.mark_methods(rows), COLUMNS)
    yield f"{synthetic}\n\n*{results['description'].capitalize()}; {origin}.*"
    yield made.markdown("scan", scans, SCAN_COLUMNS)


def page():
    """The text of README with the tables of the present results."""
    found = tables()
    return re.sub(
        r"(<!-- table -->\n).*?(\n<!-- end -->)",
        lambda place: place[1] + next(found) + place[2],
        README.read_text("utf-8"),
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    README.write_text(page(), encoding="utf-8")
