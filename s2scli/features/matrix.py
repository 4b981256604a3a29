"""Files of features that others have computed: matrices, with a row a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, BinaryIO, ClassVar

from numpy.typing import NDArray


class MatrixFormat(ABC):
    """A format of matrices: a row of MATRIX_FORMATS names a class of this.

    endings: those of the files' names.
    """

    endings: ClassVar[tuple[str, ...]]

    @staticmethod
    @abstractmethod
    def recognizes(head: bytes) -> bool:
        """Whether data that begins so is of this format; head: HEAD bytes, or all there are."""

    @staticmethod
    @abstractmethod
    def read(stream: BinaryIO, name: str, part: str) -> NDArray[Any]:
        """The array in a stream that stands at its beginning; DataError where it is broken, or cut short.

        name: what messages call the file. part: what stands behind the file's name in a reference, FILE:PART: which of
        several arrays; nothing where there is no such.
        """
