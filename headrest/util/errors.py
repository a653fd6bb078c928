"""The one exception that a user of headrest has to know."""

import unicodedata


class HeadrestError(Exception):
    """Input that cannot be trusted, or a place that cannot be written to.

    The text names the file and what to do about it, never a patient. Names of files and values
    from a header may hold anything: what a terminal would obey is written out.
    """

    def __init__(self, text=""):
        super().__init__("\n".join(map(plain, str(text).split("\n"))))


def plain(text):
    r"""Write text from a file or a folder so that it can be shown on one line.

    Examples
    --------
    >>> plain("scan\n\x1b[2J\udcff")
    'scan\\n\\x1b[2J\\udcff'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else ascii(c)[1:-1] for c in text)


def counted(n, what):
    """Write how many there are of a thing.

    Examples
    --------
    >>> counted(1, "slice"), counted(2, "slice")
    ('1 slice', '2 slices')
    """
    return f"{n} {what}{'s' * (n != 1)}"


def _is_shown(character):
    return character.isprintable() or unicodedata.category(character) == "Zs"
