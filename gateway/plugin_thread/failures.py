"""Exceptions of handlers as one line of the error log."""

from __future__ import annotations

import traceback
from types import FrameType

FRAMES = 4
"""places in the code that are named, the innermost last"""


def problem_of(error: BaseException) -> str:
    """What went wrong and where: `ValueError: no number, in access (/etc/gateway/plugins/quota.py:12)`."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = " > ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames)
    return f"{text}, in {places}" if places else text


def place_of(frame: FrameType | None) -> str:
    """Where a thread is: the innermost places of its stack."""
    if frame is None:
        return "at an end"
    frames = traceback.extract_stack(frame)[-FRAMES:]
    return "in " + " > ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames)
