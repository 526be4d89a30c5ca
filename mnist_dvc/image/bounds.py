"""What bounds the work that the file of a picture can ask for, and what is left in memory of one that is refused."""

from __future__ import annotations

import functools
import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mnist_dvc.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from numpy.typing import NDArray

    T = TypeVar("T")

__all__ = ["CountedFile", "bare_jpeg", "greymap", "leaving_nothing"]

MOST_READS = 300_000
"""Pieces that a file is read in; a GIF of 16 MiB takes 130,000, and a decoder in Python some microseconds for each."""
MOST_SEGMENTS = 2_000
"""Of a JPEG; a photo with a depth map in segments of 64 KiB has about a hundred."""
MOST_SCANNED = 2**30
"""Pixels of all scans of a JPEG together: 20 at the largest size, where encoders make about ten."""
MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
"""What ends the data of a scan: neither a byte of it, nor filling, nor a restart."""
FILLING = re.compile(rb"\xff{2,}")
START, END, SCAN = 0xD8, 0xD9, 0xDA
FRAMES = (0xC0, 0xC1, 0xC2)
"""Huffman codes, sequential or progressive: the others are read by hardly any program, and slowly."""
TABLES = (0xC4, 0xDB, 0xDD)
HEADERS = (b"\xe0", b"\xe1Exif\0\0", b"\xe1http://ns.adobe.com/xap/1.0/\0", b"\xeeAdobe")
"""What tells how colours are stored, and which way is up."""
COMMENT = re.compile(rb"#[^\r\n]*")
MOST_COMMENTS = 100_000
"""Between the levels of a PGM; there is one, if any."""


def leaving_nothing(read: Callable[[bytes, object], T]) -> Callable[[bytes, object], T]:
    """``read``, whose refusals hold none of what it had in hand: whoever keeps them keeps words, not pixels.

    An error that is kept keeps its traceback and its cause, these the functions that were at work, and these the
    picture: a hundred refused photos would fill the memory.
    """

    @functools.wraps(read)
    def reading(content: bytes, where: object) -> T:
        try:
            return read(content, where)
        except ImageError as error:
            refusal = error.with_traceback(None)
            refusal.__context__ = refusal.__cause__ = None
        del content
        raise refusal

    return reading


class CountedFile(io.BytesIO):
    """The bytes of a picture file as a decoder reads them, in no more than ``MOST_READS`` pieces.

    Decoders take a file apart in loops that a file can make as long as it is: a chunk, a comment or a run at a time.
    They have no limit for that, and a clock would refuse on a slow machine what it takes on another.
    """

    def __init__(self, content: bytes, where: object) -> None:
        """``where`` the bytes come from is for errors."""
        super().__init__(content)
        self._where = where
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            ImageError: it is one too many.
        """
        self._reads += 1
        if self._reads > MOST_READS:
            expected = f"at most {MOST_READS:,} runs, blocks or chunks"
            raise ImageError(self._where, "content", got="more pieces", expected=expected)
        return super().read(size)


def bare_jpeg(content: bytes, where: object) -> bytes:
    """A JPEG without what does not bear on its pixels: comments, previews, profiles, filling, and all behind its end.

    So the decoder reads what was counted here, and nothing else.

    Raises:
        ImageError: it has too many segments, or too many scans for its size.
    """
    parts, seen, scans, pixels, at = [content[:2]], set[bytes](), 0, 0, 2
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(content, at)
        if found is None:
            return b"".join(parts)
        start, marker = found.start(), found[1][0]
        if marker == END:
            return b"".join([*parts, content[start : start + 2]])
        at = start + 2 if marker == START else start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4]))
        segment = content[start:at]
        if marker in FRAMES:
            pixels = int.from_bytes(segment[5:7]) * int.from_bytes(segment[7:9])
        header = next((name for name in HEADERS if segment[1:2] + segment[4 : 3 + len(name)] == name), None)
        if marker in (*FRAMES, *TABLES, SCAN) or (header is not None and header not in seen):
            parts.append(segment)
        if header is not None:
            seen.add(header)
        if marker == SCAN:
            scans += 1
            behind = MARKER.search(content, at)
            parts.append(FILLING.sub(b"\xff", content[at : behind.start() if behind else len(content)]))
            if scans * pixels > MOST_SCANNED:
                expected = f"at most {MOST_SCANNED // pixels} for its size"
                raise ImageError(where, "scans of a JPEG", got=f"{scans} or more", expected=expected)
    raise ImageError(where, "segments of a JPEG", got="more", expected=f"at most {MOST_SEGMENTS:,}")


def greymap(unread: Image.Image, content: bytes) -> Image.Image:
    """A PGM whose levels are text or end at another number than a byte does, which Pillow takes seconds for.

    Args:
        unread: as Pillow opened it, its header read and its pixels not.
        content: the bytes of its file.

    Raises:
        ValueError: pixels are missing, a level is none from 0 to the highest, or there are too many comments.
    """
    kind, _, offset, (_, highest) = unread.tile[0]  # type: ignore[attr-defined]
    width, height = unread.size
    levels_M: NDArray[np.integer]
    if kind == "ppm_plain":
        text = content[offset:]
        if text.count(b"#") > MOST_COMMENTS:
            raise ValueError(f"more than {MOST_COMMENTS:,} comments")
        levels_M = np.fromstring(COMMENT.sub(b"", text), np.int64, sep=" ")[: width * height]
    else:
        levels_M = np.frombuffer(content, np.uint8 if highest < 256 else ">u2", width * height, offset)  # noqa: PLR2004
    if len(levels_M) < width * height:
        raise ValueError("not enough image data")
    if levels_M.min() < 0 or (kind == "ppm_plain" and levels_M.max() > highest):
        raise ValueError(f"a level is not from 0 to {highest}")
    white = 255 if highest < 256 else 65535  # noqa: PLR2004
    scaled_M = np.rint(levels_M / np.float32(highest) * white) if highest != white else levels_M
    deep = np.uint8 if white == 255 else np.uint16  # noqa: PLR2004
    return Image.fromarray(scaled_M.clip(0, white).astype(deep).reshape(height, width))
