from headrest.show.scans import browse

__all__ = ["browse"]
