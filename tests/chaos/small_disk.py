"""A small disk that can be filled: a tmpfs of some megabytes, where this process may mount one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SmallDisk"]

_BYTES = 64 * 1024 * 1024


class SmallDisk:
    """A folder on a file system of its own; a plain folder (`can_fill` is False) where mounting is not allowed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.can_fill = False

    def __enter__(self) -> SmallDisk:
        self.folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={_BYTES}", "chaos"]
        mount = shutil.which("mount")
        if os.geteuid() == 0 and mount:
            done = subprocess.run([mount, *options, str(self.folder)], capture_output=True, check=False)
            self.can_fill = done.returncode == 0
        return self

    def __exit__(self, *error: object) -> None:
        if self.can_fill:
            # Lazily: what still has a file open there ends soon, and must not keep it mounted.
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left in this block."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                for size in (1024 * 1024, 4096, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"\0" * size)
            yield
        finally:
            ballast.unlink()
