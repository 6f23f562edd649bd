"""quickstart: a gateway in front of a demo backend, to try out with curl."""

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

from gateway.cli.lifecycle import check_declarative, launch_command, load_or_fail, python_module
from gateway.cli.options import Invocation, fail
from gateway.processes import die_with_parent
from gateway.settings import Listener, Settings

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "quickstart.yml"
EXAMPLE_BACKENDS = ("127.0.0.1:9080", "localhost:9080")
"""addresses of the backend in the example"""


def quickstart(invocation: Invocation, backend_port: int, fresh: bool) -> None:
    """Run gateway and backend until Ctrl-C or until one of them ends.

    What is configured stays for the next time: the prefix is `quickstart` in the default one, unless another
    is named.
    """
    invocation = _completed(invocation)
    settings = load_or_fail(invocation)
    _check_ports(settings, backend_port)
    example = _example(backend_port)
    if settings.database != "off":
        served = _fill_database(settings, example, backend_port, fresh)
    elif settings.declarative_config or settings.declarative_config_string:
        check_declarative(settings)
        served = "It serves the declarative configuration that the settings name."
    else:
        invocation = invocation.with_flags({"declarative_config": str(_write_example(settings, example))})
        served = "It serves examples/quickstart.yml, without a database."
    raise SystemExit(_run(invocation, settings, backend_port, served))


def _completed(invocation: Invocation) -> Invocation:
    """The invocation with what a demonstration wants where nothing else was said."""
    settings = load_or_fail(invocation)
    wanted = {
        "prefix": str(settings.prefix / "quickstart"),
        "proxy_listen": "127.0.0.1:8000 reuseport backlog=16384",
        "proxy_access_log": "/dev/stdout",
    }
    chosen = {name: text for name, text in wanted.items() if settings.origin(name) == "default"}
    return Invocation(invocation.conf, {**chosen, **invocation.flags})


def _example(backend_port: int) -> str:
    """The example, for a backend on that port."""
    if not EXAMPLE.is_file():
        fail(f"the example {EXAMPLE} is missing: run the quick start from a checkout of the project")
    text = EXAMPLE.read_text()
    for address in EXAMPLE_BACKENDS:
        text = text.replace(address, f"{address.partition(':')[0]}:{backend_port}")
    return text


def _fill_database(settings: Settings, example: str, backend_port: int, fresh: bool) -> str:
    """See that there is something to serve; what that is, in a sentence."""
    from gateway.cli.first_start import fill_database

    if fill_database(settings, example, backend_port, fresh):
        return f"examples/quickstart.yml was imported. What you change now is kept in {settings.prefix}"
    return f"It goes on with what is kept in {settings.prefix}; --fresh starts over."


def _write_example(settings: Settings, example: str) -> Path:
    """The example as a file in the prefix."""
    file = settings.prefix / EXAMPLE.name
    try:
        settings.prefix.mkdir(mode=0o750, parents=True, exist_ok=True)
        file.write_text(example)
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
    return file


def _run(invocation: Invocation, settings: Settings, backend_port: int, served: str) -> int:
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
                _print_hints(settings, backend_port, served)
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


def _print_hints(settings: Settings, backend_port: int, served: str) -> None:
    def url(listeners: tuple[Listener, ...]) -> str:
        return f"http://{listeners[0].connect_address}" if listeners else "(off)"

    proxy, admin = url(settings.proxy_listen), url(settings.admin_listen)
    print(
        f"""
Sluicegate is running. {served}
  proxy    {proxy}
  admin    {admin}
  status   {url(settings.status_listen)}
  backend  http://127.0.0.1:{backend_port} (echoes what it is sent)

Try:
  curl -i {proxy}/echo/hello                     # a prefix; the backend sees /hello
  curl -i {proxy}/orders/42                      # a regular expression with a capture
  curl -i {proxy}/versioned -H 'X-Version: 2'    # a header decides between two routes
  curl -i {proxy}/ -H 'Host: demo.example.com'   # a host
  curl -i {proxy}/nothing                        # no route: 404
  curl -s {url(settings.status_listen)}/status
""",
        flush=True,
    )
    if settings.database != "off" and settings.admin_listen:
        print(
            f"""Change it while it runs, and see the change with the next request:
  curl -s {admin}/services -d name=mine -d url=http://127.0.0.1:{backend_port}
  curl -s {admin}/services/mine/routes -d 'paths[]=/mine'
  curl -i {proxy}/mine/hello
  gateway get routes{_elsewhere(settings, admin)}
""",
            flush=True,
        )
    print("Ctrl-C stops both.\n", flush=True)


def _elsewhere(settings: Settings, admin: str) -> str:
    """What another command needs to find the Admin API, where it is not at the default address."""
    return "" if settings.origin("admin_listen") == "default" else f" --admin-url {admin}"
