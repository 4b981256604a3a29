"""The collector passes over what is loaded, and over nothing that comes later."""

from __future__ import annotations

import gc
import weakref

import pytest

from s2scli.garbage import no_search_of_what_is_loaded


class Node:
    """An object that refers to itself, so that only the collector finds that nobody else does."""

    def __init__(self) -> None:
        self.itself = self


def test_only_what_came_before_the_block_is_passed_over() -> None:
    before = Node()
    early = weakref.ref(before)
    with no_search_of_what_is_loaded():
        assert gc.get_freeze_count() > 0
        late = weakref.ref(Node())
        del before
        gc.collect()
        assert late() is None
        assert early() is not None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert early() is None


def test_an_error_in_the_block_ends_it_too() -> None:
    with pytest.raises(KeyError), no_search_of_what_is_loaded():
        raise KeyError
    assert gc.get_freeze_count() == 0
