"""Whatever bytes are given for a picture, they are a digit or one of our refusals."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imaging import GREY, LARGE, animated, deep, encoded, phone, plain_greymap, rotated, with_alpha

from mnist_dvc.errors import ImageError
from mnist_dvc.image import Picture, parse_picture

SEEDS = [
    *(encoded(GREY, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")),
    *(encoded(with_alpha(0)), encoded(deep()), encoded(GREY, "GIF", transparency=0), plain_greymap(255), rotated(6)),
    *(animated("GIF"), animated("WEBP"), encoded(LARGE, "JPEG", progressive=True), phone()),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes replaced, a stretch removed, or a stretch doubled."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    position = st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(1, 4))):
        start, stop = sorted((draw(position), draw(position)))
        match draw(st.sampled_from(["replace", "header", "remove", "double"])):
            case "replace":
                content[start : start + 4] = draw(st.binary(min_size=1, max_size=4))
            case "header":
                content[start % 64 : start % 64 + 1] = draw(st.binary(min_size=1, max_size=1))
            case "remove":
                del content[start : min(stop, start + 50)]
            case "double":
                content[start:start] = content[start : min(stop, start + 50)]
    return bytes(content)


MAGIC = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF\x99\0\0\0WEBPVP8 ", b"P5\n"]
)
FUZZED = st.one_of(mutated(), st.builds(bytes.__add__, MAGIC, st.binary(max_size=300)))


def check_fuzzed(content: bytes) -> None:
    try:
        picture = parse_picture(content, "fuzzed")
    except ImageError as error:
        assert "\n" not in str(error)
        return
    assert isinstance(picture, Picture)
    assert picture.pixels_HW.shape == (28, 28)
    assert picture.pixels_HW.max() >= 254


@settings(max_examples=300)
@given(FUZZED)
def test_any_bytes_give_a_picture_or_a_refusal(content: bytes) -> None:
    check_fuzzed(content)


@pytest.mark.faults
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(FUZZED)
def test_ten_thousand_times_any_bytes_give_a_picture_or_a_refusal(content: bytes) -> None:
    check_fuzzed(content)
