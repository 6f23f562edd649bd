"""Exceptions of handlers as one line of the error log."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

GATEWAY = Path(__file__).parent.parent
MACHINERY = tuple(str(GATEWAY / part) for part in ("plugin_thread/", "pdk/"))
FRAMES = 4
"""places in the code that are named, the innermost last"""


def problem_of(error: BaseException) -> str:
    """What went wrong and where: `ValueError: no number, in access (/etc/gateway/plugins/quota.py:12)`."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    places = _places(traceback.extract_tb(error.__traceback__))
    return f"{text}, in {places}" if places else text


def place_of(frame: FrameType | None) -> str:
    """Where a thread is: the innermost places of its stack."""
    if frame is None:
        return "at an end"
    return f"in {_places(traceback.extract_stack(frame))}"


def _places(frames: traceback.StackSummary) -> str:
    """The innermost frames, without those that are the same for every plugin."""
    interesting = [frame for frame in frames if not frame.filename.startswith(MACHINERY)] or list(frames)
    return " > ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in interesting[-FRAMES:])
