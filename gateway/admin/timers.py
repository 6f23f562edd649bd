"""GET /timers: what runs in the background of the control process, in the shape of Kong's timers."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .descriptions import INTEGER, OBJECT, Answer, Description, object_of
from .endpoints import Endpoint
from .responses import json_response

UNNAMED = re.compile(r"Task-\d+")
DESCRIPTION = Description(
    "What runs in the background of the control process.",
    {
        200: Answer(
            "Background tasks by name.",
            object_of({"worker": object_of({"id": INTEGER, "count": INTEGER}), "stats": OBJECT}),
        )
    },
)


def timers_endpoints() -> list[Endpoint]:
    """The background tasks."""

    async def show(request: Request) -> Response:
        return json_response(200, timers())

    return [Endpoint("/timers", {"GET": show}, {"GET": DESCRIPTION})]


def timers() -> dict[str, Any]:
    """The tasks of the running event loop; those that answer requests have no name and are not counted."""
    tasks = asyncio.all_tasks()
    names = Counter(task.get_name() for task in tasks if not UNNAMED.fullmatch(task.get_name()))
    total = sum(names.values())
    return {
        "worker": {"id": os.getpid(), "count": 1},
        "stats": {
            "sys": {"total": total, "running": total, "pending": 0, "waiting": 0},
            "timers": {
                name: {"name": name, "is_running": True, "count": names[name]} for name in sorted(names)
            },
        },
    }
