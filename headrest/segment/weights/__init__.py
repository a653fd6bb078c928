"""The weights that ship: headrest.npz, and headrest.json that says what they are."""

import json
from pathlib import Path

from headrest.util.errors import HeadrestError

PLACE = Path(__file__).parent

NEEDED = {"architecture", "parameters", "sha256"}


def weights_card(place=PLACE):
    """What the shipped weights are, how they were made and what they reach.

    Returns
    -------
    dict, as headrest.json holds it.

    Raises
    ------
    HeadrestError
        Where it is missing or damaged.
    """
    path = place / "headrest.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HeadrestError(f"{path}: missing or damaged; install headrest anew") from error
    if not isinstance(card, dict) or not set(card) >= NEEDED:
        raise HeadrestError(f"{path}: damaged; install headrest anew")
    return card
