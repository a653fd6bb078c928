"""Numbers out of a header, whatever is wrong with it."""

import numpy as np


def numbers(header, keyword, count):
    """Read an attribute as finite numbers.

    Parameters
    ----------
    header : pydicom.Dataset
    keyword : str
    count : int, how many values it must have.

    Returns
    -------
    float array (count,), or None where it is missing, empty, of another length, or no number.
    """
    try:  # pydicom converts a value when it is asked for, and a damaged one raises anything
        values = np.array(header[keyword].value, float).reshape(count)
    except Exception:
        return None
    return values if np.isfinite(values).all() else None


def number(header, keyword):
    """Read an attribute as one finite number (float), or None."""
    values = numbers(header, keyword, 1)
    return None if values is None else float(values[0])
