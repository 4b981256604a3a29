"""Python's search for garbage, in commands that hold on to a model while they make many small objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_search_of_what_is_loaded() -> Iterator[None]:
    """In the block the collector passes over all objects that there are when it begins.

    Of libraries and a model there are hundreds of thousands, none of which becomes garbage before the command ends, and
    the collector would look at all of them time and again.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
