"""Photos come back as they came: format, size, orientation, colour, and nothing of the unmasked face beside them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pmask import images
from pmask.errors import BrokenImage, NotAnImage, PMaskError, TooManyBytes, TooManyPixels, UnsupportedImage
from pmask.images import decode, encode, inspect_image, reencoded


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_lossless_photo_comes_back_to_the_bit(kind, astronaut, encoded):
    """Pixels that no mask touches must be the very same."""
    photo = decode(encoded(astronaut, kind))
    again = decode(encode(photo, photo.rgb))
    assert not photo.lossy
    assert photo.info == again.info
    assert np.array_equal(astronaut, again.rgb)


def test_a_jpeg_keeps_its_tables_and_subsampling(astronaut, encoded):
    """A file that doubles in size or gains blocks is what users of such tools complain of."""
    data = encoded(astronaut, "JPEG", quality=81, subsampling=1, progressive=True, dpi=(72, 72))
    photo = decode(data)
    result = encode(photo, photo.rgb)
    assert photo.lossy
    assert opened(data).quantization == opened(result).quantization
    assert b"\xff\xc2" in result, "progressive"
    assert (72, 72) == opened(result).info["dpi"]
    assert 0.85 < len(result) / len(data) < 1.15


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF"])
def test_a_lossy_photo_keeps_its_format(kind, astronaut, encoded):
    """The site asked for that type; another one may be refused."""
    data = encoded(astronaut, kind, quality=80)
    photo = decode(data)
    result = encode(photo, photo.rgb)
    assert photo.lossy
    assert inspect_image(data) == inspect_image(result)
    assert np.abs(photo.rgb.astype(int) - decode(result).rgb).mean() < 3


def test_lossless_webp_stays_lossless(astronaut, encoded):
    """Lossy WebP would change every pixel of a file that promised not to."""
    photo = decode(encoded(astronaut, "WEBP", lossless=True))
    assert not photo.lossy
    assert np.array_equal(astronaut, decode(encode(photo, photo.rgb)).rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_worked_on_upright_and_stored_as_it_was(orientation, astronaut, encoded):
    """A face lying on its side is not found, and a photo that comes back turned is useless."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(astronaut[:, :400], "PNG", exif=exif)
    photo = decode(data)
    assert np.array_equal(np.array(ImageOps.exif_transpose(opened(data))), photo.rgb)
    assert (photo.info.height, photo.info.width) == photo.rgb.shape[:2]
    result = opened(encode(photo, photo.rgb))
    assert orientation == result.getexif()[0x0112]
    assert np.array_equal(astronaut[:, :400], np.array(result))


def test_profile_and_exif_stay_but_the_thumbnail_goes(astronaut, encoded):
    """The thumbnail in EXIF is a small picture of the unmasked face."""
    exif = Image.Exif()
    exif[0x010E] = "a title"
    thumbnail = encoded(astronaut[:100, :100], "JPEG")
    data = encoded(astronaut, "JPEG", exif=exif.tobytes() + thumbnail, icc_profile=b"profile" * 20)
    assert thumbnail in data
    result = encode(photo := decode(data), photo.rgb)
    assert "a title" == opened(result).getexif()[0x010E]
    assert b"profile" * 20 == opened(result).info["icc_profile"]
    assert thumbnail not in result


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_stays_grey(mode, astronaut):
    """Coloured fringes on a grey photo give a mask away."""
    grey = Image.fromarray(astronaut).convert("L")
    if mode == "I;16":
        grey = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "LA":
        grey.putalpha(200)
    out = io.BytesIO()
    grey.save(out, "PNG")
    photo = decode(out.getvalue())
    coloured = photo.rgb.copy()
    coloured[50:60, 50:60] = (200, 100, 50)
    assert photo.grey
    assert opened(encode(photo, coloured)).mode == ("LA" if mode == "LA" else "L")


def test_transparency_is_kept(astronaut):
    """A cut-out that comes back on black is broken."""
    image = Image.fromarray(astronaut)
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    out = io.BytesIO()
    image.save(out, "PNG")
    result = opened(encode(photo := decode(out.getvalue()), photo.rgb))
    assert np.array_equal(np.asarray(alpha), np.asarray(result.getchannel("A")))


def test_losses_are_said(astronaut, encoded):
    """What cannot be kept must be told, not found out."""
    palette = io.BytesIO()
    Image.fromarray(astronaut).quantize(64).save(palette, "PNG")
    assert any("palette" in warning for warning in decode(palette.getvalue()).warnings)
    assert () == decode(encoded(astronaut, "PNG")).warnings


def test_a_reencoded_piece_is_what_the_whole_photo_has_there(astronaut, encoded):
    """The search sees compression piece by piece; blocks that fell elsewhere would teach it the wrong noise."""
    photo = decode(encoded(astronaut, "JPEG", quality=70))
    whole = decode(encode(photo, astronaut)).rgb
    piece = reencoded(photo, np.ascontiguousarray(astronaut[64:192, 160:320]))
    inner = (slice(16, -16), slice(16, -16))  # colour is smoothed across block borders
    assert np.array_equal(whole[64:192, 160:320][inner], piece[inner])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnImage),
        (b"GIF89a but no", NotAnImage),
        (b"%PDF-1.7", NotAnImage),
        (b"x" * (images.MAX_BYTES + 1), TooManyBytes),
    ],
    ids=["empty", "lying", "pdf", "long"],
)
def test_what_is_no_photo_is_refused(data, error):
    """A refusal has a stable code that the extension turns into words."""
    with pytest.raises(error):
        inspect_image(data)


def test_a_truncated_photo_is_refused(astronaut, encoded):
    """Half a photo must not be uploaded as if it were whole."""
    data = encoded(astronaut, "JPEG")
    with pytest.raises(BrokenImage):
        decode(data[: len(data) // 2])


def test_a_bomb_is_refused_from_its_header():
    """A few kilobytes that unpack to gigabytes must not take the machine down."""
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    assert len(out.getvalue()) < 200_000
    with pytest.raises(TooManyPixels):
        inspect_image(out.getvalue())


def test_animations_and_exotic_modes_are_refused_in_words(astronaut):
    """They could not come back as they came; saying so beats returning one frame."""
    frame = Image.fromarray(astronaut)
    for kind in ("GIF", "PNG", "WEBP"):
        out = io.BytesIO()
        frame.save(out, kind, save_all=True, append_images=[frame.rotate(90)])
        with pytest.raises(UnsupportedImage):
            inspect_image(out.getvalue())
    cmyk = io.BytesIO()
    frame.convert("CMYK").save(cmyk, "JPEG")
    with pytest.raises(UnsupportedImage, match="CMYK"):
        inspect_image(cmyk.getvalue())


def test_pixels_of_another_shape_are_refused(astronaut, encoded):
    """A programming error must not become a distorted photo."""
    photo = decode(encoded(astronaut, "PNG"))
    with pytest.raises(ValueError, match="shape"):
        encode(photo, photo.rgb[:10])


def test_every_broken_file_is_refused_with_a_code(shared):
    """183 files that other programs choked on."""
    files = [path for path in (shared / "photos/broken").rglob("*") if path.is_file()]
    assert len(files) > 150
    accepted = []
    for path in files:
        try:
            decode(path.read_bytes())
            accepted.append(path.name)
        except PMaskError as error:
            assert 400 <= error.status < 500
    assert [] == accepted


def test_every_format_of_real_photos_comes_back_in_kind_or_is_refused(shared):
    """One file of each container, colour mode and orientation that phones and programs write."""
    returned = 0
    for path in sorted((shared / "photos/formats").iterdir()):
        data = path.read_bytes()
        try:
            photo = decode(data)
        except (UnsupportedImage, NotAnImage):
            continue
        result = encode(photo, photo.rgb)
        again = decode(result)
        assert photo.info == again.info, path.name
        assert opened(data).getexif().get(0x0112) == opened(result).getexif().get(0x0112), path.name
        assert opened(data).info.get("icc_profile") == opened(result).info.get("icc_profile"), path.name
        assert np.abs(photo.rgb.astype(int) - again.rgb).max() <= (30 if photo.lossy else 0), path.name
        returned += 1
    assert returned >= 35
