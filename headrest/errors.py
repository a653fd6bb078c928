"""The one exception that a user of headrest has to know."""


class HeadrestError(Exception):
    """Input that cannot be trusted, or a place that cannot be written to.

    The text names the file and what to do about it, never a patient.
    """
