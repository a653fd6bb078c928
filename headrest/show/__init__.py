from typing import Any


def __getattr__(name: str) -> Any:  # the video needs no matplotlib
    if name == "browse":
        from headrest.show.scans import browse

        return browse
    raise AttributeError(name)
