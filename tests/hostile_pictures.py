"""Files that ask a decoder, or what looks for digits, for far more work than their size tells of; made by script."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MIB = 2**20
SIDE = 1999
"""The longest side that is not reduced."""
SPOT = Image.fromarray(np.where(np.hypot(*np.mgrid[-14:14, -14:14]) < 9, 255, 0).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(inserted: bytes = b"", before: bytes = b"\xff\xe0") -> bytes:
    plain = encoded(SPOT, "JPEG")
    place = plain.index(before)
    return plain[:place] + inserted + plain[place:]


def scans(count: int, width: int, height: int, spectrum: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """A progressive JPEG that says it is so large, with ``count`` scans without data."""
    plain = encoded(SPOT, "JPEG", progressive=True)
    place = plain.index(b"\xff\xc2")
    sized = plain[: place + 5] + struct.pack(">HH", height, width) + plain[place + 9 :]
    return sized[:-2] + segment(0xDA, bytes([1, 1, 0, *spectrum])) * count + sized[-2:]


def exif(entries: int, size: int) -> bytes:
    """EXIF data whose every entry claims the same ``size`` bytes."""
    listed = b"".join(struct.pack("<HHII", 1000 + number, 1, size, 8) for number in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + listed + bytes(max(4, size - len(listed)))


# ------------------------------------------------------------------------------------------------------------------ PNG


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int = 28, height: int = 28, *, before: bytes = b"", after: bytes = b"", depth: int = 8, kind: int = 0
) -> bytes:
    """A black PNG with chunks ``before`` and ``after`` its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zeros((width * channels * depth // 8 + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND")


def zeros(count: int) -> bytes:
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(min(MIB, count - at))) for at in range(0, count, MIB)]
    return b"".join(parts) + packer.flush()


# ----------------------------------------------------------------------------------------------------- GIF, BMP and PGM


def gif(before: bytes = b"", after: bytes = b"") -> bytes:
    plain = encoded(SPOT, "GIF")
    place = plain.rindex(b",")
    return plain[:place] + before + plain[place:-1] + after + b";"


def gif_frame() -> bytes:
    plain = encoded(SPOT, "GIF")
    return plain[plain.rindex(b",") : -1]


def bmp(width: int, height: int, runs: bytes) -> bytes:
    """A bitmap of 8 bits in run-length encoding."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 256)
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + head + palette + runs


LEVELS = b"9 " * 784
MOST = 15 * MIB

FILES: dict[str, Callable[[], bytes]] = {
    "JPEG: 30,000 scans": lambda: scans(30_000, 8192, 6144),
    "JPEG: 30,000 scans that refine": lambda: scans(30_000, 8192, 6144, (1, 63, 0x10)),
    "JPEG: 1,000 scans of 16 megapixels": lambda: scans(1_000, 4000, 4000, (1, 63, 0)),
    "JPEG: 20 scans of 48 megapixels": lambda: scans(10, 8192, 6144, (1, 63, 0x10)),
    "JPEG: 100,000 scans of a small picture": lambda: scans(100_000, 28, 28),
    "JPEG: filling before a header": lambda: jpeg(b"\xff" * MOST),
    "JPEG: filling before a scan": lambda: jpeg(b"\xff" * MOST, b"\xff\xda"),
    "JPEG: filling before the end": lambda: jpeg(b"\xff" * MOST, b"\xff\xd9"),
    "JPEG: zeros between headers": lambda: jpeg(bytes(MOST), b"\xff\xdb"),
    "JPEG: escapes in a scan": lambda: jpeg(b"\xff\0" * (MOST // 2), b"\xff\xd9"),
    "JPEG: restarts in a scan": lambda: jpeg(b"\xff\xd0" * (MOST // 2), b"\xff\xd9"),
    "JPEG: comments of no bytes": lambda: jpeg(b"\xff\xfe\0\2" * (MOST // 4)),
    "JPEG: comments of 64 KiB": lambda: jpeg(segment(0xFE, bytes(65_000)) * 240),
    "JPEG: EXIF in a million segments": lambda: jpeg(segment(0xE1, b"Exif\0\0a") * 1_400_000),
    "JPEG: EXIF in large segments": lambda: jpeg(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 240),
    "JPEG: EXIF that claims all of itself": lambda: jpeg(segment(0xE1, b"Exif\0\0" + exif(5_000, 5_000))),
    "JPEG: profiles": lambda: jpeg(segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(100)) * 100_000),
    "JPEG: tables": lambda: jpeg(segment(0xDB, bytes(65)) * 200_000),
    "JPEG: codes": lambda: jpeg(segment(0xC4, bytes([0, 1]) + bytes(15) + b"\1") * 600_000),
    "JPEG: restart intervals": lambda: jpeg(segment(0xDD, b"\0\1") * 2_000_000),
    "JPEG: frames": lambda: jpeg(segment(0xC0, b"\x08\0\x1c\0\x1c\1\1\x11\0") * 800_000),
    "JPEG: arithmetic codes": lambda: encoded(SPOT, "JPEG").replace(b"\xff\xc0", b"\xff\xc9"),
    "JPEG: starts": lambda: jpeg(b"\xff\xd8" * (MOST // 2)),
    "JPEG: a segment longer than the file": lambda: jpeg(b"\xff\xe5\xff\xff"),
    "JPEG: a length of 0": lambda: jpeg(b"\xff\xe5\0\0" * 1000),
    "PNG: a million empty chunks": lambda: png(before=chunk(b"abCd") * 1_200_000),
    "PNG: a million empty parts": lambda: png(after=chunk(b"IDAT") * 1_200_000),
    "PNG: a million texts": lambda: png(before=chunk(b"tEXt", b"k\0v") * 900_000),
    "PNG: texts that unpack": lambda: png(before=chunk(b"zTXt", b"k\0\0" + zeros(MIB - 10)) * 60),
    "PNG: a profile that unpacks": lambda: png(before=chunk(b"iCCP", b"k\0\0" + zeros(400 * MIB))),
    "PNG: EXIF that claims all of itself": lambda: png(before=chunk(b"eXIf", exif(1_000, 8 * MIB))),
    "PNG: XMP": lambda: png(before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<tiff:Orientation" * 800_000)),
    "PNG: frames": lambda: png(before=chunk(b"acTL", struct.pack(">II", 10**5, 0)) + chunk(b"fcTL", bytes(26)) * 10**5),
    "PNG: 48 megapixels, four channels": lambda: png(8192, 6144, kind=6),
    "PNG: 48 megapixels, four channels of 16 bits": lambda: png(8192, 6144, kind=6, depth=16),
    "PNG: 48 megapixels of 16 bits": lambda: png(8192, 6144, depth=16),
    "PNG: 48 megapixels of 16 bits, one level clear": lambda: png(8192, 6144, depth=16, before=chunk(b"tRNS", b"\0\1")),
    "GIF: a comment of single bytes": lambda: gif(b"\x21\xfe" + b"\x01a" * (MOST // 2) + b"\0"),
    "GIF: a comment of long blocks": lambda: gif(b"\x21\xfe" + (b"\xff" + b"a" * 255) * (MOST // 256) + b"\0"),
    "GIF: three million comments": lambda: gif(b"\x21\xfe\x01a\0" * (MOST // 5)),
    "GIF: zeros behind its picture": lambda: gif(after=bytes(MOST)),
    "GIF: 60,000 frames": lambda: gif(after=gif_frame() * 60_000),
    "GIF: 48 megapixels": lambda: encoded(Image.new("L", (8192, 6144)), "GIF"),
    "BMP: seven million runs": lambda: bmp(8192, 6144, b"\1\7" * (MOST // 2)),
    "BMP: ends of lines": lambda: bmp(8192, 6144, b"\0\0" * (MOST // 2)),
    "BMP: moves to nowhere": lambda: bmp(8, 8, b"\0\2\0\0" * (MOST // 4)),
    "BMP: 48 megapixels of one bit": lambda: encoded(Image.new("1", (8192, 6144)), "BMP"),
    "PGM: comments of no letters": lambda: b"P2\n28 28\n255\n" + b"#\n" * (MOST // 2) + LEVELS,
    "PGM: comments of 14 letters": lambda: b"P2\n28 28\n255\n" + b"#aaaaaaaaaaaaaa\n" * (MOST // 16) + LEVELS,
    "PGM: one comment": lambda: b"P2\n28 28\n255\n#" + b"a" * MOST + b"\n" + LEVELS,
    "PGM: a comment in the header": lambda: b"P2\n#" + b"a" * MOST + b"\n28 28\n255\n" + LEVELS,
    "PGM: a comment in the header of bytes": lambda: b"P5\n#" + b"a" * MOST + b"\n28 28\n255\n" + bytes(784),
    "PGM: spaces in the header": lambda: b"P5\n" + b" " * MOST + b"28 28\n255\n" + bytes(784),
    "PGM: spaces between levels": lambda: b"P2\n28 28\n255\n" + b" " * MOST + LEVELS,
    "PGM: seven million levels": lambda: b"P2\n3500 2000\n255\n" + b"9 " * 7_000_000,
    "PGM: seven million levels of 16 bits": lambda: b"P2\n3500 2000\n65535\n" + b"9 " * 7_000_000,
    "PGM: bytes of 100 levels": lambda: b"P5\n4000 3900\n100\n" + bytes(4000 * 3900),
    "PGM: words of 1,000 levels": lambda: b"P5\n3900 2000\n1000\n" + bytes(2 * 3900 * 2000),
    "PGM: most of the levels missing": lambda: b"P2\n8192 6144\n255\n" + b"9 " * 7_000_000,
    "WebP: 48 megapixels": lambda: encoded(Image.new("RGB", (8192, 6144)), "WEBP", lossless=True, method=0, quality=0),
    "WebP: 24 megapixels": lambda: encoded(Image.new("RGB", (6144, 4096)), "WEBP", lossless=True, method=0, quality=0),
}

# ------------------------------------------------------------------------------------------------------------------ ink

ROWS_HW, COLUMNS_HW = np.mgrid[:SIDE, :SIDE]


def nested(*, gap: bool, step: int = 4) -> NDArray[np.bool_]:
    """Squares in squares, each open at the top where there is a gap."""
    mask_HW = np.zeros((SIDE, SIDE), bool)
    for first in range(10, SIDE // 2 - 20, step):
        last = SIDE - 1 - first
        mask_HW[[first, last], first : last + 1] = mask_HW[first : last + 1, [first, last]] = True
        mask_HW[first, SIDE // 2 - 2 : SIDE // 2 + 2] &= not gap
    return mask_HW


def tiles(pitch: int, height: int, width: int) -> NDArray[np.bool_]:
    """Rectangles all over."""
    tiled_HW: NDArray[np.bool_] = (ROWS_HW % pitch < height) & (COLUMNS_HW % pitch < width)
    return tiled_HW


def speckled(share: float, size: int = 1) -> NDArray[np.bool_]:
    few = -(-SIDE // size)
    random_HW = np.random.default_rng(14).random((few, few)) < share
    return np.kron(random_HW, np.ones((size, size), bool))[:SIDE, :SIDE]


def within(mask_HW: NDArray[np.bool_], margin: int = 40) -> NDArray[np.bool_]:
    """Nothing at the border."""
    return np.pad(mask_HW[margin:-margin, margin:-margin], margin)


INK: dict[str, Callable[[], NDArray[np.bool_]]] = {
    "checkerboard": lambda: (ROWS_HW + COLUMNS_HW) % 2 == 0,
    "a million dots": lambda: within(tiles(2, 1, 1)),
    "dots": lambda: within(tiles(4, 1, 1)),
    "specks": lambda: within(speckled(0.1)),
    "noise": lambda: speckled(0.5),
    "coarse noise": lambda: within(speckled(0.25, 3)),
    "lines from side to side": lambda: ROWS_HW % 32 < 16,
    "lines inside": lambda: within(ROWS_HW % 8 < 4),
    "a net": lambda: (ROWS_HW % 31 < 12) | (COLUMNS_HW % 31 < 12),
    "slanting lines": lambda: (ROWS_HW * 8 + COLUMNS_HW) % 128 < 64,
    "500 squares": lambda: within(tiles(88, 44, 44)),
    "400 bars": lambda: within(tiles(90, 70, 20)),
    "500 hollow squares": lambda: within(tiles(88, 44, 44) & ~np.roll(tiles(88, 22, 22), (11, 11), (0, 1))),
    "open squares in each other": lambda: nested(gap=True),
    "closed squares in each other": lambda: nested(gap=False),
    "rings": lambda: np.sin(np.hypot(ROWS_HW - 1000, COLUMNS_HW - 1000)) > 0,
    "rays": lambda: np.sin(np.arctan2(ROWS_HW - 1000, COLUMNS_HW - 1000) * 300) > 0,
    "a comb": lambda: within((ROWS_HW % 4 < 2) | (COLUMNS_HW < 60)),
}


def on_paper(mask_HW: NDArray[np.bool_]) -> bytes:
    return encoded(Image.fromarray(np.where(mask_HW, 0, 255).astype(np.uint8)), compress_level=1)


def all_files() -> dict[str, Callable[[], bytes]]:
    """The bytes of every hostile picture, by name."""
    return FILES | {f"ink: {name}": lambda make=make: on_paper(make()) for name, make in INK.items()}
