"""The story's traffic for locust: a live view in the browser, and a report as HTML.

    python -m bench story --serve --rate 2000           starts everything and says where the proxy is
    locust -f bench/story/locustfile.py --host http://127.0.0.1:PORT
                                                        the live view, on http://127.0.0.1:8089
    locust -f bench/story/locustfile.py --host http://127.0.0.1:PORT \\
        --headless --users 50 --spawn-rate 50 --run-time 60s --html story.html

locust is written in Python and makes a few thousand requests a second and core: it shows what clients see;
what the gateway can do is what wrk shows. Requests, their order and their shares are the same. `--rate` says
how many a second there will be: the slower they come, the longer responses are kept, for the same hit rate.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from locust import FastHttpUser, events, task
from locust.env import Environment

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # locust runs this file by its path

from bench.hits import STATUS
from bench.story import traffic

TAPE_LENGTH = 1 << 17
planned = traffic.plan(TAPE_LENGTH)
places = itertools.count()
statuses: dict[str, int] = {}


class Client(FastHttpUser):
    """One client; all of them go along the same tape."""

    connection_timeout = 10.0
    network_timeout = 10.0

    @task
    def ask(self) -> None:
        """The next request of the tape. A failure is any answer that is not that of this very request."""
        request = planned.requests[planned.tape[next(places) % TAPE_LENGTH]]
        with self.client.request(
            request.service.method,
            request.path,
            name=f"{request.service.method} {request.service.path}",
            headers={"Host": traffic.HOST, **request.headers()},
            data=request.body or None,
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif answer.json()["asked"] != request.path:
                answer.failure("the answer to another request")
            status = (answer.headers or {}).get(STATUS, "none")
            statuses[status] = statuses.get(status, 0) + 1


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def say_statuses(environment: Environment, **_: object) -> None:
    """How often which X-Cache-Status came."""
    total = sum(statuses.values())
    for status, count in sorted(statuses.items()):
        print(f"{STATUS}: {status} {count} ({count / total:.1%})")
