"""Methods that are written once and serve both clients.

An `operation` is written as a generator of steps; called on an object of the blocking client it gives its
result, called on one of the asynchronous client it gives something to await. A `listing` is written as the
steps to its first page; it gives an iterator, or an asynchronous one.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from gateway.client.drivers import Awaiting, Blocking, Page
from gateway.client.exchange import Steps

P = ParamSpec("P")
T = TypeVar("T")


class OfBlocking:
    """An object of the blocking client."""

    driver: Blocking


class OfAwaiting:
    """An object of the asynchronous client."""

    driver: Awaiting


class operation(Generic[P, T]):
    """A method that does something."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._steps = steps
        functools.update_wrapper(self, steps)  # type: ignore[arg-type]

    @overload
    def __get__(self, instance: OfBlocking, owner: object = None) -> Callable[P, T]: ...

    @overload
    def __get__(self, instance: OfAwaiting, owner: object = None) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, instance: Any, owner: object = None) -> Any:
        if instance is None:
            return self

        @functools.wraps(self._steps)
        def bound(*positional: P.args, **named: P.kwargs) -> Any:
            return instance.driver.run(self._steps(instance, *positional, **named))

        return bound


class listing(Generic[P, T]):
    """A method that goes through a list, page by page."""

    def __init__(self, first_page: Callable[Concatenate[Any, P], Steps[Page[T]]]) -> None:
        self._first_page = first_page
        functools.update_wrapper(self, first_page)  # type: ignore[arg-type]

    @overload
    def __get__(self, instance: OfBlocking, owner: object = None) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, instance: OfAwaiting, owner: object = None) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, instance: Any, owner: object = None) -> Any:
        if instance is None:
            return self

        @functools.wraps(self._first_page)
        def bound(*positional: P.args, **named: P.kwargs) -> Any:
            return instance.driver.items(self._first_page(instance, *positional, **named))

        return bound
