"""Where to compute: an option that verbs share."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import arg

# auto, cpu, cuda, or cuda:N. Which of them there are, torch has to be asked: see ``device_of``.
Device = Annotated[str, arg(metavar="{auto,cpu,cuda,cuda:N}")]
