"""The files that a project keeps of large mails."""

from __future__ import annotations

from pathlib import Path

__all__ = ["files"]


def files(folder: Path) -> list[Path]:
    """All files at or below a folder; none where it does not exist."""
    return [path for path in folder.rglob("*") if path.is_file()]
