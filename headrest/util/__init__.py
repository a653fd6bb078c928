"""Parts that every folder uses, and the version: part of derived UIDs and of folder names."""

__version__ = "0.9.0"
