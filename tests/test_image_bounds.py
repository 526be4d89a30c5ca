"""What a picture may ask for is bounded, and by counts: the same file has the same answer on any machine."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hostile_pictures import SPOT, chunk, encoded, gif, jpeg, on_paper, png, scans, segment, tiles, within
from PIL import Image
from scipy import ndimage

from mnist_dvc.errors import ImageError
from mnist_dvc.image import bounds, decode, fitting, lines, parse_digits, parse_picture, pieces, reading, upright

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PIECES = "content: got more pieces, expected at most 300,000 runs, blocks or chunks"


TOO_MUCH: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: scans(30_000, 8192, 6144), "scans of a JPEG: got 22 or more, expected at most 21 for its size"),
    "small scans": (lambda: scans(5_000, 28, 28), "segments of a JPEG: got more, expected at most 2,000"),
    "EXIF": (lambda: jpeg(segment(0xE1, b"Exif\0\0a") * 2_000), "segments of a JPEG: got more, expected at most 2,000"),
    "chunks": (lambda: png(before=chunk(b"abCd") * 120_000), PIECES),
    "blocks": (lambda: gif(b"\x21\xfe" + b"\x01a" * 200_000 + b"\0"), PIECES),
    "header": (lambda: b"P5\n#" + b"a" * 300_000 + b"\n28 28\n255\n" + bytes(784), PIECES),
    "comments": (lambda: b"P2\n28 28\n255\n" + b"#\n" * 100_001 + b"9 " * 784, "more than 100,000 comments"),
    "deep colour": (lambda: png(8192, 4096, depth=16, kind=6), "got 8,192 x 4,096, expected at most 25,165,824 pixels"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_asks_for_too_much_is_refused_before_it_is_decoded(name: str) -> None:
    make, expected = TOO_MUCH[name]
    with pytest.raises(ImageError) as caught:
        parse_picture(make(), "sent")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("guard", "make"),
    [
        ("MOST_READS", lambda: gif(b"\x21\xfe" + b"\x01a" * 200_000 + b"\0")),
        ("MOST_SEGMENTS", lambda: jpeg(segment(0xFE, b"a") * 3_000)),
        ("MOST_COMMENTS", lambda: bounded_greymap(b"#\n" * 100_001)),
    ],
)
def test_without_its_guard_the_picture_is_read(
    monkeypatch: pytest.MonkeyPatch, guard: str, make: Callable[[], bytes]
) -> None:
    with pytest.raises(ImageError):
        parse_picture(make(), "sent")
    monkeypatch.setattr(bounds, guard, 10**9)
    assert parse_picture(make(), "sent").pixels_HW.any()


def bounded_greymap(comments: bytes, highest: int = 255, *, plain: bool = True) -> bytes:
    """The spot as a PGM."""
    levels_HW = np.asarray(SPOT).astype(int) * highest // 255
    if plain:
        return b"P2\n28 28\n%d\n" % highest + comments + b" ".join(b"%d" % level for level in levels_HW.ravel())
    return b"P5\n28 28\n%d\n" % highest + levels_HW.astype(">u2" if highest > 255 else np.uint8).tobytes()


@pytest.mark.parametrize("highest", [1, 100, 255, 1000, 65535])
@pytest.mark.parametrize("plain", [True, False])
def test_greymap_of_any_highest_level_is_read_as_pillow_reads_it(highest: int, *, plain: bool) -> None:
    content = bounded_greymap(b"# by hand\n", highest, plain=plain)
    expected = parse_picture(encoded(SPOT), "spot")
    np.testing.assert_allclose(parse_picture(content, "sent").pixels_HW, expected.pixels_HW, atol=1)


@pytest.mark.parametrize(
    "tail", [b"1 2", b"300 " * 784, b"-1 " * 784, b"x " * 784, b"99999999999999999999 " * 784, b""]
)
def test_greymap_with_other_levels_is_refused(tail: bytes) -> None:
    with pytest.raises(ImageError, match=r"content: got (damage|an unknown)"):
        parse_picture(b"P2\n28 28\n255\n" + tail, "sent")


@pytest.mark.parametrize(
    "filling", [b"\xff" * 100_000, segment(0xFE, bytes(60_000)), segment(0xE2, b"MPF\0" + bytes(99))]
)
@pytest.mark.parametrize("progressive", [True, False])
def test_what_a_jpeg_carries_besides_changes_no_pixel(filling: bytes, *, progressive: bool) -> None:
    plain = encoded(SPOT.resize((200, 200)), "JPEG", progressive=progressive)
    for marker in (b"\xff\xdb", b"\xff\xda", b"\xff\xd9"):
        place = plain.index(marker)
        filled = plain[:place] + filling + plain[place:] + b"a film behind the end"
        np.testing.assert_array_equal(np.asarray(upright(filled, "sent")), np.asarray(upright(plain, "sent")))


def noisy(mode: str) -> bytes:
    """A PNG of 2,107 x 2,503 in a mode of Pillow, ``keyed`` with a transparent level."""
    levels_HW = np.random.default_rng(3).integers(0, 256, (2503, 2107)).astype(np.uint8)
    image = Image.fromarray(levels_HW)
    if mode.startswith("I"):
        content = encoded(Image.fromarray(levels_HW.astype(np.uint16) * 257), compress_level=1)
        return content[:33] + chunk(b"tRNS", bytes(2)) + content[33:] if "keyed" in mode else content
    if mode == "P keyed":
        return encoded(image.convert("P"), compress_level=1, transparency=0)
    return encoded(Image.merge(mode, [image] * len(mode)) if "A" in mode else image.convert(mode), compress_level=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P keyed", "RGB", "RGBA", "I;16", "I;16 keyed"])
def test_strips_are_the_picture_that_the_whole_would_be(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    content = noisy(mode)
    strips = decode.rastered(content, "sent")
    monkeypatch.setattr(decode, "STRIP", 10**6)
    np.testing.assert_array_equal(strips.grey_HW, decode.rastered(content, "sent").grey_HW)
    assert strips.size == (2107, 2503)


@pytest.mark.parametrize(
    ("read", "kept"),
    [(parse_digits, False), (parse_digits.__wrapped__, True)],  # type: ignore[attr-defined]
    ids=["read", "twin"],
)
def test_refusal_that_is_kept_holds_no_pixels(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes, object], object], *, kept: bool
) -> None:
    """The twin reads past what takes them out of an error."""
    watched: list[weakref.ref[NDArray[np.float32]]] = []

    def rastered(content: bytes, where: object) -> decode.Raster:
        raster = decode.rastered(content, where)
        watched.append(weakref.ref(raster.grey_HW))
        return raster

    monkeypatch.setattr(reading, "rastered", rastered)
    with pytest.raises(ImageError) as caught:
        read(encoded(Image.new("L", (100, 100))), "sent")
    gc.collect()
    assert (watched[0]() is not None) is kept
    assert kept or (caught.value.__cause__, caught.value.__context__) == (None, None)


# ------------------------------------------------------------------------------------------------------------------ ink


def filled_by_scipy(labels_HW: NDArray[np.int32], found: list[pieces.Piece]) -> list[pieces.Piece]:
    """What the one look at each pixel has to find: one filling for each pair of pieces, which took minutes."""

    def frames(piece: pieces.Piece, other: pieces.Piece) -> bool:
        box, inner = piece.box, other.box
        inside = box.top < inner.top and box.left < inner.left and box.bottom > inner.bottom and box.right > inner.right
        if not inside or inner.longer < pieces.INSIDE * box.longer:
            return False
        part_HW = labels_HW[box.slices]
        return bool(ndimage.binary_fill_holes(part_HW == piece.label)[part_HW == other.label].all())

    return [piece for piece in found if not any(frames(piece, other) for other in found)]


@pytest.mark.parametrize("seed", range(40))
def test_frames_are_those_that_filling_finds(seed: int) -> None:
    """Random lines, boxes and specks, which enclose each other and reach the border."""
    random = np.random.default_rng(seed)
    mask_HW = np.zeros((60, 70), bool)
    for _ in range(int(random.integers(3, 14))):
        top, left = random.integers(0, 50, 2)
        height, width = random.integers(2, 40, 2)
        box_HW = mask_HW[top : top + height, left : left + width]
        box_HW[[0, -1]] |= random.random() < 0.8
        box_HW[:, [0, -1]] |= random.random() < 0.8
    mask_HW ^= random.random(mask_HW.shape) < 0.02
    labels_HW, found = pieces._labelled(mask_HW)
    assert pieces._without_frames(labels_HW, found) == filled_by_scipy(labels_HW, found)


def test_pieces_of_noise_are_dropped_at_once() -> None:
    labels_HW, found = pieces._labelled(within(tiles(4, 1, 1)))
    assert len(found) == labels_HW.max() == pieces.MOST_PIECES


def test_pattern_of_lines_is_no_ruled_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    mask_HW = np.broadcast_to(np.arange(1000)[:, None] % 16 < 4, (1000, 1000))
    assert lines.without_lines(mask_HW).any()
    monkeypatch.setattr(lines, "MOST_LINES", 10**6)
    assert not lines.without_lines(mask_HW).any()


def test_one_digit_is_made_where_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(ink_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
        made.append(1)
        return fitting.fitted(ink_HW)

    monkeypatch.setattr(reading, "fitted", counted)
    content = on_paper(within(tiles(200, 150, 40)))
    with pytest.raises(ImageError, match="digits: got"):
        parse_picture(content, "sent")
    assert made == []
    assert len(parse_digits(content, "sent")) == len(made) > 10
