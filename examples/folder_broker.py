"""kombu's filesystem transport, with messages that appear whole.

kombu makes a message's file first and writes to it then. A worker that takes the file in between finds it empty, and
ends. The examples run on busy machines, too.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps

__all__ = ["Transport"]


class Channel(filesystem.Channel):  # type: ignore[misc]
    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:
        # As kombu names it: in the order of their names messages are taken, and by the end of the name, for a queue.
        path = Path(self.data_folder_out) / f"{monotonic() * 1000:.0f}_{uuid.uuid4()}.{queue}.msg"
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            unfinished.write_bytes(dumps(payload).encode())
            os.replace(unfinished, path)
        except OSError as exc:
            raise ChannelError(f"cannot add {path} to its folder") from exc


class Transport(filesystem.Transport):  # type: ignore[misc]
    Channel = Channel
