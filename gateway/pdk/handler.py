"""Runs Python plugins on the plugin thread: one object per configuration, one call per phase."""

from __future__ import annotations

import inspect
import opcode
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from types import CodeType
from typing import Any

import msgspec

from gateway.pdk.answers import Answer
from gateway.pdk.cache import Cache
from gateway.pdk.plugin import Logger, Plugin, name_of
from gateway.pdk.sources import SourceDirectory, load_plugin
from gateway.plugin_thread import Job, WorkerContext
from gateway.run_directory import RunDirectory
from native.python_calls import PluginPhase
from native.python_requests import (
    BodyTooLong,
    Request,
    answer_of,
    is_last_call,
    read_outcome,
    read_request,
    read_response,
    respond_with,
)
from native.steps.python_plugin import unpack_source

REWRITE = int(PluginPhase.PHASE_REWRITE)
ACCESS = int(PluginPhase.PHASE_ACCESS)
RESPONSE = int(PluginPhase.PHASE_RESPONSE)
LOG = int(PluginPhase.PHASE_LOG)

MOST_CONTEXTS = 65_536
"""Requests whose `ctx` is kept at a time; when there are more, the oldest one's is lost."""
TOO_LARGE = Answer(413, {"message": "Payload Too Large"})

AWAITING = frozenset(
    opcode.opmap[name]
    for name in ("GET_AWAITABLE", "SEND", "YIELD_VALUE", "GET_AITER")
    if name in opcode.opmap
)
"""Instructions of functions that may wait for something."""


class Instance:
    """A plugin's object for one configuration, with its functions by phase."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.rewrite = _callable(plugin, "rewrite")
        self.access = _callable(plugin, "access")
        self.response = _callable(plugin, "response")
        self.log = _callable(plugin, "log")


def _callable(plugin: Plugin, phase: str) -> Any:
    """The function of a phase; one that is `async` but waits for nothing becomes an ordinary one, which needs
    no task."""
    function = getattr(plugin, phase, None)
    if inspect.iscoroutinefunction(function) and not may_wait(function.__code__):
        return _run_at_once(function)
    return function


def may_wait(code: CodeType) -> bool:
    """Whether a coroutine function has an `await`, `async for` or `async with`."""
    # Every coroutine function begins by making its coroutine; instructions are two bytes each.
    return any(instruction in AWAITING for instruction in code.co_code[::2])


def _run_at_once(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        coroutine = function(*arguments)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        coroutine.close()
        raise RuntimeError("a function without await has waited")

    return call


class Contexts(OrderedDict[str, dict[Any, Any]]):
    """The `ctx` of requests by request id, not too many."""

    def __setitem__(self, request_id: str, context: dict[Any, Any]) -> None:
        super().__setitem__(request_id, context)
        if len(self) > MOST_CONTEXTS:
            self.popitem(last=False)


class PythonPluginHandler:
    """The handler of all Python plugins of a worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._sources = SourceDirectory(RunDirectory(context.settings.prefix).plugins)
        self._caches: dict[tuple[str, bytes], Cache] = {}
        """by name and source"""
        self._contexts = Contexts()

    def configure(self, job: Job) -> Instance:
        """The object for the configuration of a job."""
        source = unpack_source(job.plugin.packed)
        kind = load_plugin(self._sources, source)
        plugin = kind.__new__(kind)
        plugin.config = msgspec.json.decode(job.plugin.document or b"{}", type=kind.Config)
        plugin.cache = self._cache(kind, source)
        plugin.logger = Logger(self._context.log, name_of(kind))
        plugin.worker = self._context.worker
        plugin.__init__()  # type: ignore[misc]  # after what it may look at
        plugin.setup()
        return Instance(plugin)

    def _cache(self, kind: type[Plugin], source: bytes) -> Cache:
        name = name_of(kind)
        key = (name, source)
        if key not in self._caches:
            # The one of an earlier version goes; its objects may use it on until their requests have ended.
            self._caches = {known: cache for known, cache in self._caches.items() if known[0] != name}
            self._caches[key] = Cache(kind.cache_entries)
        return self._caches[key]

    def discard(self, instance: Instance) -> Coroutine[Any, Any, None]:
        """A configuration is gone."""
        return instance.plugin.close()

    def handle(self, job: Job) -> bytes | Coroutine[Any, Any, bytes]:
        """Call the function that the job is for."""
        instance: Instance = job.config
        phase = job.verb
        request = None
        try:
            if phase == ACCESS:
                request = read_request(job, self._contexts)
                result = instance.access(request)
            elif phase == RESPONSE:
                request = read_request(job, self._contexts)
                result = instance.response(request, read_response(request))
            elif phase == LOG:
                request = read_request(job, self._contexts)
                result = self._log(instance, request)
            elif phase == REWRITE:
                request = read_request(job, self._contexts)
                result = instance.rewrite(request)
            else:
                self._contexts.pop(job.request_id, None)
                return b""
        except (Answer, BodyTooLong) as ended:
            assert request is not None
            return answered(request, ended, phase)
        if result is None:
            return answer_of(request)
        if isinstance(result, Answer):
            return answered(request, result, phase)
        if inspect.isawaitable(result):
            return _later(request, result, phase)
        raise TypeError(f"a plugin's function returns None or respond(…), not {type(result).__name__}")

    def _log(self, instance: Instance, request: Request) -> Any:
        _ = request.ctx  # taken now: it is forgotten while the function may still wait for something
        if is_last_call(request):
            self._contexts.pop(request.id, None)
        return instance.log(request, read_outcome(request))

    async def close(self) -> None:
        """The worker ends."""
        import sys

        if "gateway.pdk.http" in sys.modules:
            await sys.modules["gateway.pdk.http"].close_client()


async def _later(request: Request, work: Any, phase: int) -> bytes:
    try:
        result = await work
    except (Answer, BodyTooLong) as ended:
        return answered(request, ended, phase)
    if result is None:
        return answer_of(request)
    if isinstance(result, Answer):
        return answered(request, result, phase)
    raise TypeError(f"a plugin's function returns None or respond(…), not {type(result).__name__}")


def answered(request: Request, ended: Answer | BodyTooLong, phase: int) -> bytes:
    """What becomes of a request that a plugin has answered, or whose body it could not see."""
    if isinstance(ended, BodyTooLong):
        if phase != ACCESS:
            return b""  # the response goes on as it is
        ended = TOO_LARGE
    return respond_with(request, ended.status, ended.content_type.encode(), ended.body, ended.headers)
