import gc
import weakref

import pytest

from gateway.garbage import collection_paused, set_aside


@pytest.fixture(autouse=True)
def _collecting():
    assert gc.isenabled()
    yield
    gc.enable()


def test_paused_and_resumed():
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_resumed_after_an_error():
    with pytest.raises(KeyError), collection_paused():
        raise KeyError
    assert gc.isenabled()


def test_who_does_without_is_left_without():
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.node = self


def test_what_is_set_aside_is_not_searched_and_yet_freed():
    try:
        frozen = gc.get_freeze_count()
        kept = [Node()]
        Node()
        set_aside()
        assert gc.get_freeze_count() > frozen
        assert not any(isinstance(one, Node) for one in gc.get_objects())
        gone = weakref.ref(kept[0])
        kept[0].node = None
        kept.clear()
        assert gone() is None
    finally:
        gc.unfreeze()
