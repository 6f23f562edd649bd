"""Starts the demo backend on the loopback interface."""

import argparse
import asyncio
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from gateway.demo.app import echo


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = Server(echo, "127.0.0.1", port, interface=Interfaces.RSGI, log_enabled=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    await server.serve()


def main() -> None:
    """Command line: --port."""
    parser = argparse.ArgumentParser("gateway.demo", description="Echo backend for the quick start")
    parser.add_argument("--port", type=int, default=9080)
    asyncio.run(serve(parser.parse_args().port))


main()
