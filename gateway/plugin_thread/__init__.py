"""Python on the request path: what steps hand over is worked on here, in a thread of its own in each worker.

A plugin names its handler (`PluginDefinition.handler`, "module:Class"); the thread makes one of it per worker
when the worker gets a configuration that may need it, and hands it the jobs. A handler answers with bytes, at
once or from a coroutine; an exception is logged and the job has failed. Which requests wait, and for how
long, is the loop thread's business: nothing that happens here can hold up a request beyond its deadline.
"""

from gateway.plugin_thread.context import ErrorWriter, Handler, Job, WorkerContext
from gateway.plugin_thread.thread import PluginThread

__all__ = ["ErrorWriter", "Handler", "Job", "PluginThread", "WorkerContext"]
