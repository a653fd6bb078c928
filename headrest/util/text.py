"""Text tables."""

from collections.abc import Iterable, Mapping

import numpy as np


def table(columns: Mapping[str, Iterable], digits: int = 1) -> str:
    """Write columns as an aligned text table.

    Parameters
    ----------
    columns : dict of str to sequence, all of one length.
    digits : int, decimals of floats.

    Examples
    --------
    >>> print(table({"slice": [1, 12], "ml": [0.5, 10.25]}))
    slice    ml
        1   0.5
       12  10.2
    """
    cells = [[name, *(_cell(v, digits) for v in column)] for name, column in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rows = zip(*cells)
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in rows)


def _cell(value, digits):
    return f"{value:.{digits}f}" if isinstance(value, (float, np.floating)) else str(value)
