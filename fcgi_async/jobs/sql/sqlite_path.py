"""A hint for the path of an SQLite file that looks mistyped."""

from __future__ import annotations

from pathlib import Path

__all__ = ("relative_meant",)


def relative_meant(path: Path) -> str:
    """Return a hint if an absolute path seems to be meant as a relative one, else "".

    SQLAlchemy reads `sqlite:///jobs.db` as a relative path; here it is /jobs.db.
    """
    relative = path.relative_to(path.anchor)
    if path.parent != Path(path.anchor) and not relative.exists():
        return ""
    return f"; three slashes begin an absolute path: write sqlite:{relative} for ./{relative}"
