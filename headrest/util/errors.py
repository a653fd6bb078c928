"""HeadrestError, words for messages, and the check of optional packages."""

import importlib.util
import unicodedata


class HeadrestError(Exception):
    """Input that cannot be trusted, or a place that cannot be written.

    The text names the file and the remedy, never a patient. Control characters, which file names
    and header values may contain, are escaped.
    """

    def __init__(self, text: object = ""):
        super().__init__("\n".join(map(plain, str(text).split("\n"))))


def plain(text: object) -> str:
    r"""Escape everything in a text that a terminal would not print as one line.

    >>> plain("scan\n\x1b[2J\udcff")
    'scan\\n\\x1b[2J\\udcff'
    """
    return "".join(c if _is_printable(c) else ascii(c)[1:-1] for c in str(text))


def counted(n: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "slice"), counted(2, "slice")
    ('1 slice', '2 slices')
    """
    return f"{n} {noun}{'s' * (n != 1)}"


def require(package: str, advice: str = "") -> None:
    """Raise HeadrestError with the line for pip, and the advice, if a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise HeadrestError(f"{package} is not installed: pip install {package}{advice}")


def _is_printable(character):
    return character.isprintable() or unicodedata.category(character) == "Zs"
