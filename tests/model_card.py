"""The table of the model card's page; `python tests/model_card.py` writes it from headrest.json."""

import json
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "headrest" / "segment" / "weights"
PAGE = WEIGHTS / "README.md"
MARKS = "<!-- card -->\n", "<!-- end -->\n"


def rows(values, name=""):
    """One row per number or text of the card; lists in one row."""
    for key, value in values.items():
        label = f"{name}, {key}" if name else key
        if isinstance(value, dict):
            yield from rows(value, label)
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"| {label.replace('_', ' ')} | {text.strip('[]').replace(chr(10), '; ')} |"


def read_card():
    return json.loads((WEIGHTS / "headrest.json").read_text("utf-8"))


def page():
    """The text of the page with the table of the present card."""
    before, _, rest = PAGE.read_text("utf-8").partition(MARKS[0])
    table = "\n".join(["| field | value |", "| --- | --- |", *rows(read_card())])
    return f"{before}{MARKS[0]}{table}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
