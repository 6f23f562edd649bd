"""quickstart: a gateway in front of a demo backend, to try out with curl."""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from gateway.cli.lifecycle import check_declarative, launch_command, load_or_fail, python_module
from gateway.cli.options import Invocation, fail
from gateway.processes import die_with_parent
from gateway.settings import Listener, Settings

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "quickstart.yml"
EXAMPLE_BACKEND = "127.0.0.1:9080"
"""address of the backend in the example"""


def quickstart(invocation: Invocation, backend_port: int) -> None:
    """Run gateway and backend until Ctrl-C or until one of them ends."""
    if not EXAMPLE.is_file():
        fail(f"the example {EXAMPLE} is missing: run the quick start from a checkout of the project")
    work = Path(tempfile.mkdtemp(prefix="sluicegate-quickstart-"))
    try:
        raise SystemExit(_run(_completed(invocation, work, backend_port), backend_port))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _completed(invocation: Invocation, work: Path, backend_port: int) -> Invocation:
    """The invocation with what a demonstration wants where nothing else was said."""
    settings = load_or_fail(invocation)
    example = work / "quickstart.yml"
    example.write_text(EXAMPLE.read_text().replace(EXAMPLE_BACKEND, f"127.0.0.1:{backend_port}"))
    wanted = {
        "prefix": str(work / "prefix"),
        "declarative_config": str(example),
        "proxy_listen": "127.0.0.1:8000 reuseport backlog=16384",
        "proxy_access_log": "/dev/stdout",
    }
    if settings.declarative_config_string:
        del wanted["declarative_config"]
    chosen = {name: text for name, text in wanted.items() if settings.origin(name) == "default"}
    return Invocation(invocation.conf, {**chosen, **invocation.flags})


def _run(invocation: Invocation, backend_port: int) -> int:
    settings = load_or_fail(invocation)
    check_declarative(settings)
    _check_ports(settings, backend_port)
    # Ctrl-C reaches the gateway too, which stops by itself; here it only ends the waiting.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
    interrupted, writer = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    parent = os.getpid()
    reader, ready = os.pipe()
    children = [
        subprocess.Popen(
            [*python_module("gateway.demo"), "--port", str(backend_port)],
            preexec_fn=lambda: die_with_parent(parent),
        ),
        subprocess.Popen(
            [*launch_command(invocation), "--ready-fd", str(ready)],
            pass_fds=(ready,),
            preexec_fn=lambda: die_with_parent(parent),
        ),
    ]
    os.close(ready)
    poll = select.poll()
    for descriptor in (reader, interrupted, *(os.pidfd_open(child.pid) for child in children)):
        poll.register(descriptor, select.POLLIN)
    serving = False
    while True:
        events = {descriptor for descriptor, _ in poll.poll()}
        if reader in events:
            if os.read(reader, 16):
                serving = True
                _print_hints(settings, backend_port)
            poll.unregister(reader)
            events.discard(reader)
        if events:
            break
    for child in children:
        child.terminate()
    backend, gateway = (child.wait() for child in children)
    if not serving:
        return gateway or backend or 1
    return 0 if gateway == 0 else 1


def _check_ports(settings: Settings, backend_port: int) -> None:
    """End the command with a clear message when an address is taken."""
    backend = Listener("127.0.0.1", backend_port)
    problems = [f"{backend} is taken: choose another port for the backend with --backend-port"] * _is_taken(
        backend
    )
    for name in ("proxy_listen", "admin_listen", "status_listen"):
        for listener in getattr(settings, name):
            if not listener.path and _is_taken(listener):
                problems.append(
                    f"{listener} is taken: choose another: GATEWAY_{name.upper()}=127.0.0.1:<port>"
                )
    if problems:
        fail("an address is in use by another program:", *problems)


def _is_taken(listener: Listener) -> bool:
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address, listener.port))
            probe.listen(1)
        except OSError:
            return True
    return False


def _print_hints(settings: Settings, backend_port: int) -> None:
    def url(listeners: tuple[Listener, ...]) -> str:
        return f"http://{listeners[0].connect_address}" if listeners else "(off)"

    proxy = url(settings.proxy_listen)
    print(
        f"""
Sluicegate is running.
  proxy    {proxy}
  admin    {url(settings.admin_listen)}
  status   {url(settings.status_listen)}
  backend  http://127.0.0.1:{backend_port} (echoes what it is sent)

Try:
  curl -i {proxy}/echo/hello                     # a prefix; the backend sees /hello
  curl -i {proxy}/orders/42                      # a regular expression with a capture
  curl -i {proxy}/versioned -H 'X-Version: 2'    # a header decides between two routes
  curl -i {proxy}/ -H 'Host: demo.example.com'   # a host
  curl -i {proxy}/nothing                        # no route: 404
  curl -s {url(settings.status_listen)}/status

Ctrl-C stops both.
""",
        flush=True,
    )
