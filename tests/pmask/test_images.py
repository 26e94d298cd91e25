"""Photos come back as they came: format, size, orientation, colour, and nothing of the unmasked face beside them."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin, TiffImagePlugin

from pmask import images
from pmask.errors import BrokenImage, NotAnImage, PMaskError, TooManyBytes, TooManyPixels, UnsupportedImage
from pmask.images import decode, encode, formats, inspect_image, metadata, reencoded
from pmask.images.pixels import as_stored

FINDS = Path(__file__).parent / "finds"


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


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
    data = encoded(astronaut, "JPEG", quality=90, subsampling=1, progressive=True, dpi=(72, 72))
    photo = decode(data)
    result = encode(photo, photo.rgb)
    assert photo.lossy
    assert not photo.way.refined
    assert opened(data).quantization == opened(result).quantization
    assert b"\xff\xc2" in result, "progressive"
    assert (72, 72) == opened(result).info["dpi"]
    assert 0.85 < len(result) / len(data) < 1.15


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_brightness_of_a_coarse_jpeg_is_written_finer(mode, astronaut):
    """Coarse steps would round a mask away. What is not masked comes out as it was, and the file hardly grows."""
    fine, coarse = (saved(Image.fromarray(astronaut).convert(mode), "JPEG", quality=quality) for quality in (90, 75))
    photo = decode(coarse)
    result = encode(photo, photo.rgb)
    limits, before, after = (opened(file).quantization for file in (fine, coarse, result))
    assert photo.way.refined
    assert before.get(1) == after.get(1), "of colour"
    for step, was, most in zip(after[0], before[0], limits[0], strict=True):
        assert step <= max(most, was // 4)
        assert 0 == was % step or max(most, was // 4) == step
    assert np.abs(photo.rgb.astype(int) - decode(result).rgb).mean() < 0.6
    assert len(coarse) < len(result) < 1.4 * len(coarse)


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


def test_a_webp_film_with_frames_of_both_kinds_stays_about_as_large(astronaut):
    """All written without loss it would be eight times as large, for the sake of frames that came with losses."""
    drawing = Image.new("RGB", (256, 256), "navy")
    photos = [Image.fromarray(astronaut).resize((256, 256)).rotate(angle) for angle in (0, 4)]
    mixed = {"allow_mixed": True, "quality": 60, "duration": 100}
    data = saved(photos[0], "WEBP", save_all=True, append_images=[drawing, photos[1]], **mixed)
    assert b"VP8 " in data
    assert b"VP8L" in data
    photo = decode(data)
    assert 0.7 < len(encode(photo, photo.rgb, [frame.rgb for frame in photo.more])) / len(data) < 1.3


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_wide_colours_without_a_profile_stay_wide(kind, astronaut, encoded):
    """Two numbers say how all values look (ITU-T H.273: Display P3, or HDR's BT.2020 and PQ); without, it pales."""
    plain = encoded(astronaut[:64, :64], kind)
    start, srgb = plain.index(b"colrnclx") + 8, struct.pack(">HH", 1, 13)
    assert srgb == plain[start : start + 4]
    for said in (srgb, struct.pack(">HH", 12, 13), struct.pack(">HH", 9, 16)):
        photo = decode(plain.replace(b"colrnclx" + srgb, b"colrnclx" + said))
        assert b"colrnclx" + said in encode(photo, photo.rgb)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_worked_on_upright_and_stored_as_it_was(orientation, kind, astronaut, encoded):
    """A face lying on its side is not found, and a photo that comes back turned is useless."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(astronaut[:, :400], kind, exif=exif)
    photo = decode(data)
    assert np.array_equal(np.array(ImageOps.exif_transpose(opened(data))), photo.rgb)
    assert (photo.info.height, photo.info.width) == photo.rgb.shape[:2]
    assert photo.info == inspect_image(data)
    result = encode(photo, photo.rgb)
    assert orientation == opened(result).getexif()[0x0112]
    assert np.array_equal(np.array(opened(data)), np.array(opened(result)))


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
    photo = decode(saved(grey, "PNG"))
    coloured = photo.rgb.copy()
    coloured[50:60, 50:60] = (200, 100, 50)
    assert photo.grey
    assert mode == opened(encode(photo, coloured)).mode


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_and_untouched_pixels_are_exact(channels, astronaut):
    """A photographer's gradients are lost in 8 bits, and what no mask touches is nobody's to change."""
    noise = np.random.default_rng(0).integers(0, 65536, (64, 48, channels), np.uint16)
    noise = noise[..., 0] if channels == 1 else noise
    ok, data = cv2.imencode(".png", noise[..., [2, 1, 0, 3][:channels]] if channels > 1 else noise)
    assert ok
    photo = decode(data.tobytes())
    assert () == photo.warnings
    masked = photo.rgb.copy()
    masked[10:20, 10:20] = 255 - masked[10:20, 10:20]
    result = encode(photo, masked)
    deep = cv2.imdecode(np.frombuffer(result, np.uint8), cv2.IMREAD_UNCHANGED)
    deep = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep
    outside = np.ones((64, 48), bool)
    outside[10:20, 10:20] = False
    assert np.uint16 == deep.dtype
    assert np.array_equal(noise[outside], deep[outside])
    assert np.array_equal(masked, decode(result).rgb)
    if channels == 4:
        assert np.array_equal(noise[..., 3], deep[..., 3])


@pytest.mark.parametrize(("channels", "kind"), [(1, ".png"), (3, ".png"), (1, ".tiff")])
def test_neither_byte_of_sixteen_bits_is_the_bare_photo(channels, kind, astronaut):
    """Where a file was made of 8 bits, as by scanners and GIMP, each value holds them twice."""
    deep = astronaut[60:190, 170:280, :channels].squeeze().astype(np.uint16) * 257
    photo = decode(cv2.imencode(kind, deep)[1].tobytes())
    result = cv2.imdecode(np.frombuffer(encode(photo, photo.rgb ^ 8), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.uint16 == result.dtype
    assert np.array_equal((deep >> 8) ^ 8, result >> 8)
    assert np.array_equal((deep & 255) ^ 8, result & 255)


def test_the_chunks_that_say_how_a_png_looks_stay_with_sixteen_bits_too(astronaut, encoded):
    """Without its profile a photo of wide colour looks pale, and without its orientation it lies on its side."""
    deep = cv2.imencode(".png", astronaut.astype(np.uint16) * 257)[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(astronaut[:9, :9], "PNG", icc_profile=b"profile" * 20, dpi=(300, 300), exif=exif)
    rest = plain[33 : plain.index(b"IDAT") - 4]  # what Pillow put between header and pixels
    photo = decode(deep[:33] + rest + deep[33:])
    result = opened(encode(photo, photo.rgb))
    assert b"profile" * 20 == result.info["icc_profile"]
    assert (300, 300) == tuple(round(side) for side in result.info["dpi"])
    assert 6 == result.getexif()[0x0112]
    assert "RGB;16B" == opened(encode(photo, photo.rgb)).tile[0].args


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink_stays_ink(kind, astronaut):
    """A printer's CMYK file that comes back as RGB is refused by the printer."""
    photo = decode(saved(Image.fromarray(astronaut).convert("CMYK"), kind))
    masked = photo.rgb.copy()
    masked[200:260, 200:260] = np.clip(masked[200:260, 200:260].astype(int) + 12, 0, 255)
    result = encode(photo, masked)
    assert "CMYK" == opened(result).mode
    error = np.abs(masked.astype(int) - decode(result).rgb)
    assert error.max() <= (1 if kind == "TIFF" else 25)
    if kind == "TIFF":
        outside = np.ones(masked.shape[:2], bool)
        outside[200:260, 200:260] = False
        assert not error[outside].any()


def test_black_ink_gives_way_to_a_brighter_mask():
    """Where black covers everything, less of the colours alone would not show."""
    dark = np.full((32, 32, 4), (0, 0, 0, 230), np.uint8)
    photo = decode(saved(Image.frombuffer("CMYK", (32, 32), dark, "raw", "CMYK", 0, 1), "TIFF"))
    brighter = photo.rgb + np.uint8(20)
    assert np.abs(brighter.astype(int) - decode(encode(photo, brighter)).rgb).max() <= 1


@pytest.mark.parametrize("most", [0.5, 0.8, 1.0])
def test_every_ink_takes_its_part_of_a_mask(most, astronaut):
    """Black ink by itself is a picture in grey: of the bare face, if the other three carry the mask alone."""
    face = astronaut[60:190, 170:280].astype(float)
    black = most * (255 - face.max(2))
    inks = np.dstack([255 - face * 255 / np.maximum(255 - black, 1)[..., None], black])
    inks = np.rint(inks).clip(0, 255).astype(np.uint8)
    photo = decode(saved(Image.frombuffer("CMYK", inks.shape[1::-1], inks.copy(), "raw", "CMYK", 0, 1), "TIFF"))
    mask = np.random.default_rng(0).integers(-12, 13, (*inks.shape[:2], 1))
    masked = np.clip(photo.rgb.astype(int) + mask, 0, 255).astype(np.uint8)
    result = encode(photo, masked)

    def moved(before, after) -> float:
        return float((after.astype(float) - before).std() / before.std())

    shares = [moved(inks[..., ink], np.asarray(opened(result))[..., ink]) for ink in range(4)]
    assert min(shares) > 0.9 * moved(photo.rgb, masked)
    assert np.abs(masked.astype(int) - decode(result).rgb).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_stays_that_pixel_by_pixel(mode):
    """A mask must neither fill holes nor tear new ones."""
    image = Image.new(mode, (40, 40), "white" if mode == "L" else (255, 255, 255))
    image.paste(Image.linear_gradient("L").resize((20, 40)).convert(mode), (0, 0))
    key = 255 if mode == "L" else (255, 255, 255)
    photo = decode(saved(image, "PNG", transparency=key))
    holes = np.asarray(image.convert("RGB")).min(2) == 255
    result = opened(encode(photo, np.where(photo.rgb > 100, np.uint8(255), photo.rgb)))
    assert mode == result.mode
    assert key == result.info["transparency"]
    assert np.array_equal(holes, np.asarray(result.convert("RGBA").getchannel("A")) == 0)


def test_a_transparent_grey_of_sixteen_bits_stays_that():
    """Holes that are filled show what their maker cut out."""
    grey = np.full((40, 40), 0x12FF, np.uint16)
    grey[:, :20] = 0x34FF
    photo = decode(saved(Image.fromarray(grey), "PNG", transparency=0x12FF))
    masked = np.where(np.arange(40)[None, :, None] < 30, np.uint8(0x12), np.uint8(0x50)) + np.zeros_like(photo.rgb)
    result = opened(encode(photo, masked))
    assert ("I;16", 0x12FF) == (result.mode, result.info["transparency"])
    assert np.array_equal(grey == 0x12FF, np.asarray(result) == 0x12FF)


@pytest.mark.parametrize(("kind", "quality"), [("WEBP", 40), ("WEBP", 90), ("AVIF", 70), ("AVIF", 100), ("HEIF", 60)])
def test_formats_that_do_not_say_their_quality_come_back_as_large(kind, quality, astronaut, encoded):
    """A photo four times as large is refused by sites, and one half as large has lost its detail."""
    data = encoded(astronaut, kind, quality=quality)
    photo = decode(data)
    assert 0.85 < len(encode(photo, photo.rgb)) / len(data) < 1.15


def located() -> Image.Exif:
    """EXIF that says where and with what a photo was taken."""
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8769)[0x927C] = b"notes \xff\xd8\xff of a maker"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (59.0, 20.0, 1.0)
    exif[0x0112] = 3
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_place_goes_by_default_and_the_rest_of_exif_stays(kind, astronaut, encoded):
    """Who hides a face hardly wants to tell the site where it lives; and the choice is the person's."""
    data = encoded(astronaut, kind, exif=located().tobytes())
    kept = {}
    for choice in metadata.CHOICES:
        photo = decode(data, choice)
        assert photo.located
        assert (choice != "keep") == any("GPS" in warning for warning in photo.warnings)
        exif = opened(encode(photo, photo.rgb)).getexif()
        kept[choice] = exif.get(0x010F), bool(exif.get_ifd(0x8825)), exif.get(0x0112)
        assert 0x927C not in exif.get_ifd(0x8769), "a maker's note with a preview in it"
    turn = opened(data).getexif().get(0x0112)  # AVIF says it elsewhere, as pixels that are turned
    assert {
        "no_location": ("a maker", False, turn),
        "keep": ("a maker", True, turn),
        "strip": (None, False, turn),
    } == kept


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize("choice", metadata.CHOICES)
def test_no_picture_and_no_packet_goes_on_within_exif(kind, choice, astronaut, encoded):
    """Photoshop's thumbnail and some cameras' previews show the whole bare face; XMP and IPTC say who and where."""
    thumbnail = encoded(astronaut[:64, :64], "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "a title"
    exif[0x011A] = 300.0
    exif[0x8649] = b"8BIM\x04\x0c" + thumbnail
    exif[0x02BC] = b"<exif:GPSLatitude>59,20N</exif:GPSLatitude>"
    exif[0x83BB] = b"\x1c\x02\x5a\x00\x06Berlin"
    exif.get_ifd(0x8769).update(
        {0x9286: b"ASCII\0\0\0" + thumbnail, 0x927C: b"MLT0\0" + thumbnail[1:], 0xA434: "a lens"}
    )
    exif.get_ifd(0x8825).update({1: "N", 0x1B: b"ASCII\0\0\0" + thumbnail})
    photo = decode(encoded(astronaut, kind, exif=exif.tobytes()), choice)
    result = encode(photo, photo.rgb)
    assert not [secret for secret in (thumbnail[1:], b"GPSLatitude", b"Berlin") if secret in result]
    said = opened(result).getexif()
    kept = said.get(0x010E), said.get_ifd(0x8769).get(0xA434), said.get_ifd(0x8825).get(1)
    assert {
        "no_location": ("a title", "a lens", None),
        "keep": ("a title", "a lens", "N"),
        "strip": (None, None, None),
    }[choice] == kept


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_that_xmp_alone_tells_is_not_heeded(kind, astronaut, encoded):
    """Browsers do not: the face would be looked for lying on its side, and the photo come back turned."""
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    said = PngImagePlugin.PngInfo()
    said.add_itxt("XML:com.adobe.xmp", packet.decode())
    options = {"PNG": {"pnginfo": said}, "TIFF": {"tiffinfo": {700: packet}}}
    photo = decode(data := encoded(astronaut[:, :400], kind, **options.get(kind, {"xmp": packet})))
    assert packet in data
    assert photo.info == inspect_image(data)
    assert (512, 400) == photo.rgb.shape[:2]
    assert 0x0112 not in opened(encode(photo, photo.rgb)).getexif()


def test_a_pngs_words_stay_where_all_is_to_stay(astronaut, encoded):
    """Title and author stand there, as in other files' EXIF; XMP goes in any case."""
    said = PngImagePlugin.PngInfo()
    said.add_text("Title", "a title")
    said.add_text("Author", "an author", zip=True)
    said.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    data = encoded(astronaut, "PNG", pnginfo=said)
    words = {choice: opened(encode(photo := decode(data, choice), photo.rgb)).info for choice in metadata.CHOICES}
    assert {"no_location": {}, "keep": {"Title": "a title", "Author": "an author"}, "strip": {}} == words


def hidden_pictures(astronaut) -> dict[str, bytes]:
    """A bare face as programs hide it in tags and texts: coded, as pixels, and as words."""
    small = Image.fromarray(astronaut).resize((48, 48))
    coded = {kind: saved(small, kind) for kind in ("JPEG", "PNG", "WEBP", "HEIF", "GIF")}
    short = saved(small.resize((40, 40)), "JPEG", quality=40)
    assert len(base64.b64encode(short)) < 4096
    return coded | {"pixels": small.tobytes(), "base64": base64.b64encode(short)}


PICTURES = ["JPEG", "PNG", "WEBP", "HEIF", "GIF", "pixels", "base64"]


@pytest.mark.parametrize("choice", ["no_location", "keep"])
@pytest.mark.parametrize("hidden", PICTURES)
def test_no_picture_of_any_kind_goes_on_within_tags(hidden, choice, astronaut):
    """Only JPEGs were known, and any tag of the camera's directory went on."""
    picture = hidden_pictures(astronaut)[hidden]
    exif = Image.Exif()
    exif[0x010E], exif[0x9C9C] = picture.decode("latin-1"), picture
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8769).update(
        {0x927C: b"note" + picture, 0x9286: b"ASCII\0\0\0" + picture, 0xFDE8: picture[:4000], 0xEA1C: picture}
    )
    exif.get_ifd(0x8769).update({0xA434: "a lens", 0xA005: {1: "R98", 0x1234: picture[:4000]}})
    photo = decode(saved(Image.fromarray(astronaut[:64, :64]), "JPEG", exif=exif), choice)
    result = encode(photo, photo.rgb)
    assert picture[len(picture) // 2 :][:30] not in result
    said = opened(result).getexif()
    assert ("a maker", "a lens") == (said[0x010F], said.get_ifd(0x8769)[0xA434])
    assert {1: "R98"} == said.get_ifd(0xA005)
    assert photo.warnings == ()


@pytest.mark.parametrize("hidden", PICTURES)
def test_no_picture_goes_on_as_a_comment_or_a_text(hidden, astronaut):
    """A JPEG's comment and a PNG's texts were not looked at; packed, they show nothing of a picture."""
    picture, image = hidden_pictures(astronaut)[hidden], Image.fromarray(astronaut[:64, :64])
    said = PngImagePlugin.PngInfo()
    said.add_text("Plain", picture.decode("latin-1"))
    said.add_text("Packed", picture.decode("latin-1"), zip=True)
    said.add_itxt("Other", picture.decode("latin-1"))
    said.add_itxt("Other packed", picture.decode("latin-1"), zip=True)
    said.add_itxt("Title", "ein Titel für ein Foto", lang="de", zip=True)
    photo = decode(saved(image, "JPEG", comment=picture), "keep")
    assert "comment" not in opened(encode(photo, photo.rgb)).info
    photo = decode(saved(image, "PNG", pnginfo=said), "keep")
    assert {"Title": "ein Titel für ein Foto"} == opened(encode(photo, photo.rgb)).text


def test_words_and_short_notes_of_the_maker_go_on(astronaut):
    """Lens and exposure are what photographers look for, and phones' notes hold no picture."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x829A: 0.008, 0x9003: "2024:05:01 10:00:00", 0x927C: b"Apple iOS\0" + b"n" * 2000})
    photo = decode(saved(Image.fromarray(astronaut[:64, :64]), "JPEG", exif=exif, comment=b"words"))
    result = opened(encode(photo, photo.rgb))
    assert set(exif.get_ifd(0x8769)) == set(result.getexif().get_ifd(0x8769))
    assert b"words" == result.info["comment"]


def test_exif_that_fills_its_segment_gives_up_the_makers_notes(astronaut, encoded):
    """Compactly written it has just room there, and written anew it had not: the photo was refused after its search."""
    notes = b"N" * 65_470
    main = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    own = struct.pack("<HHHII", 1, 0x927C, 7, len(notes), 44) + bytes(4)
    plain = encoded(astronaut[:64, :64], "JPEG")
    photo = decode(with_exif(plain, b"II*\0\x08\0\0\0" + main + own + notes))
    assert notes not in encode(photo, photo.rgb)


def with_exif(jpeg: bytes, exif: bytes) -> bytes:
    """A JPEG with EXIF in as many segments as it takes, which Pillow joins."""
    segments = b""
    for start in range(0, len(exif), 65_500):
        part = b"Exif\0\0" + exif[start : start + 65_500]
        segments += b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    return jpeg[:2] + segments + jpeg[2:]


def test_exif_of_several_segments_that_fits_into_none_is_left_out_with_a_word(astronaut, encoded):
    """The photo was refused; its orientation must stay."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({tag: "w" * 4000 for tag in (*range(0xA430, 0xA43D), *range(0x9290, 0x9293), 0xA420)})
    photo = decode(with_exif(encoded(astronaut[:64, :32], "JPEG"), exif.tobytes().removeprefix(b"Exif\0\0")))
    assert any("EXIF" in warning for warning in photo.warnings)
    assert {0x0112: 6} == dict(opened(encode(photo, photo.rgb)).getexif())


def box(kind: bytes, content: bytes) -> bytes:
    """Of an AVIF or HEIC."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


VIDEO = b"ftypmp42" * 1000


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("JPEG", VIDEO),
        ("JPEG", VIDEO + b"\xff\xd9" + b"ftypmp42"),
        ("MPO", VIDEO),
        ("HEIF", box(b"mpvd", VIDEO)),
        ("AVIF", box(b"mpvd", VIDEO)),
    ],
    ids=["JPEG", "JPEG that seems to end late", "MPO", "HEIF", "AVIF"],
)
def test_a_motion_photos_video_is_left_out_with_a_word(kind, more, astronaut):
    """The two seconds that some phones append show the face unmasked."""
    first, second, _ = frames_of(astronaut)
    options = {"save_all": True, "append_images": [second]} if kind == "MPO" else {}
    plain = saved(first, kind, **options)
    assert not any("video" in warning for warning in decode(plain).warnings)
    photo = decode(plain + more)
    assert 1 == sum("video" in warning for warning in photo.warnings)
    assert b"ftypmp42" not in encode(photo, photo.rgb, [frame.rgb for frame in photo.more])


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "WEBP"])
def test_a_video_that_is_left_out_does_not_count_for_the_quality(kind, astronaut, encoded):
    """A photo with three megabytes of video came back at the finest quality, at thrice its size."""
    plain = encoded(astronaut[:256, :256], kind, quality=70)
    video = VIDEO * 20 if kind == "WEBP" else box(b"mpvd", VIDEO * 20)
    photo = decode(plain + video)
    assert 0.85 < len(encode(photo, photo.rgb)) / len(plain) < 1.15


def test_a_gain_map_is_left_out_with_a_word(astronaut, encoded):
    """It is a small picture of the bare face; and who looks at an HDR screen sees that the photo became duller."""
    image, gain = encoded(astronaut, "JPEG"), encoded(astronaut[::2, ::2], "JPEG")
    apple = encoded(astronaut, "HEIF") + box(b"free", b"urn:com:apple:photo:2020:aux:hdrgainmap")
    for data in (image + gain, apple):
        photo = decode(data)
        assert 1 == sum("gain map" in warning for warning in photo.warnings)
        assert gain not in encode(photo, photo.rgb)


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
    few = saved(Image.fromarray(astronaut).quantize(64), "PNG")
    assert any("few colours" in warning for warning in decode(few).warnings)
    assert any("grey" in warning for warning in decode(saved(Image.fromarray(astronaut).convert("1"), "PNG")).warnings)
    assert () == decode(encoded(astronaut, "PNG")).warnings


def test_a_bmp_of_sixteen_bits_a_pixel_loses_none():
    """Its channels have 5 or 6 bits, not 16 that would be reduced to 8."""
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0) + masks
    pixels = np.arange(64, dtype="<u2").tobytes()
    assert () == decode(b"BM" + struct.pack("<IHHI", 66 + 128, 0, 0, 66) + header + pixels).warnings


@pytest.mark.parametrize("mode", ["P", "I;16", "RGBA"])
def test_pages_that_jpeg_cannot_hold_come_back_beside_such_as_it_can(mode, astronaut):
    """The first page's way was taken for all, and the photo was refused after its search."""
    first = Image.fromarray(astronaut[:96, :96])
    page = Image.fromarray(astronaut[:96, :96, 0].astype(np.uint16) * 257) if mode == "I;16" else first.convert(mode)
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out, True) as file:
        for image, options in ((first, {"compression": "jpeg"}), (page, {})):
            image.save(file, "TIFF", **options)
            file.newFrame()
    photo = decode(out.getvalue())
    result = encode(photo, photo.rgb, [photo.more[0].rgb])
    assert np.array_equal(photo.more[0].rgb, decode(result).more[0].rgb)
    assert "jpeg" == opened(result).info["compression"]


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_comes_back_in_grey(compression, astronaut):
    """It was refused only once its mask had been searched for."""
    photo = decode(saved(Image.fromarray(astronaut).convert("1"), "TIFF", compression=compression))
    result = encode(photo, photo.rgb)
    assert "L" == opened(result).mode
    assert np.array_equal(photo.rgb, decode(result).rgb)


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


def frames_of(astronaut) -> list[Image.Image]:
    frame = Image.fromarray(astronaut).resize((96, 96))
    return [frame, frame.rotate(10), frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_every_frame_of_an_animation_comes_back(kind, astronaut):
    """One frame left out of a mask shows the face, and one lost stops the film."""
    first, *rest = frames_of(astronaut)
    lossless = {"WEBP": {"lossless": True}}.get(kind, {})
    timed = {} if kind == "TIFF" else {"duration": [100, 200, 300], "loop": 2}
    data = saved(first, kind, save_all=True, append_images=rest, **timed, **lossless)
    photo = decode(data)
    assert 2 == len(photo.more)
    changed = [frame.rgb.copy() for frame in (photo, *photo.more)]
    for pixels in changed:
        pixels[40:50, 40:50] = pixels[60:70, 60:70]
    result = encode(photo, changed[0], changed[1:])
    again = decode(result)
    for pixels, before, after in zip(changed, (photo, *photo.more), (again, *again.more), strict=True):
        outside = np.ones((96, 96), bool)
        outside[40:50, 40:50] = False
        assert np.array_equal(before.rgb[outside], after.rgb[outside])
        assert np.abs(pixels.astype(int) - after.rgb).max() <= (60 if kind == "GIF" else 0)
    if timed:
        assert 2 == opened(result).info["loop"]
        assert [100, 200, 300] == times(result)


def times(data: bytes) -> list[float]:
    """How long each frame of a file is shown, in milliseconds."""
    with opened(data) as film:
        found = []
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            found.append(film.info.get("duration"))
        return found


def test_frames_that_are_held_are_one_that_is_shown_longer(astronaut):
    """Pillow writes no frame twice: a film that came with some would go out with fewer than were masked."""
    first, second, third = frames_of(astronaut)
    frames, blend = [first, first, second, third, third, first], [0, 1, 0, 0, 1, 0]  # unlike ones are not merged
    data = saved(
        frames[0], "PNG", save_all=True, append_images=frames[1:], duration=[100, 50, 70, 30, 40, 90], blend=blend
    )
    assert 6 == opened(data).n_frames
    photo = decode(data)
    assert [0, 2, 3, 5] == [frame.number for frame in (photo, *photo.more)], "a browser counts what is held too"
    result = encode(photo, photo.rgb, [frame.rgb for frame in photo.more])
    assert 4 == opened(result).n_frames == 1 + len(photo.more)
    assert [150, 70, 70, 90] == times(result)


def test_an_apngs_own_picture_stays_outside_the_film(astronaut):
    """It is shown where films cannot play, may show a face, and has no time; and the frames keep theirs."""
    first, *rest = frames_of(astronaut)
    frames = [first, first, *rest]
    data = saved(
        frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True, duration=[100, 200, 300]
    )
    photo = decode(data)
    assert [-1, 0, 1, 2] == [frame.number for frame in (photo, *photo.more)]
    result = encode(photo, photo.rgb, [frame.rgb for frame in photo.more])
    assert opened(result).info["default_image"]
    assert [None, 100, 200, 300] == times(data) == times(result)


def test_a_gifs_frame_without_a_time_leaves_the_others_theirs(astronaut):
    """Its control block may be missing, as of the first frame in old files."""
    first, *rest = frames_of(astronaut)
    data = saved(first, "GIF", save_all=True, append_images=rest, duration=[100, 200, 300])
    control = data.index(b"\x21\xf9\x04")
    photo = decode(data[:control] + data[control + 8 :])
    assert [0, 200, 300] == [time or 0 for time in times(encode(photo, photo.rgb, [frame.rgb for frame in photo.more]))]


@pytest.mark.parametrize("orientations", [(1, 6), (6, 1), (8, 3)])
def test_pages_that_lie_in_their_tiff_unlike_one_another_come_back_upright(orientations, astronaut):
    """A scanner turns each page by itself."""
    pages = [np.ascontiguousarray(astronaut[:90, :60]), np.ascontiguousarray(astronaut[100:190, 200:260])]
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out, True) as file:
        for pixels, orientation in zip(pages, orientations, strict=True):
            as_stored(Image.fromarray(pixels), orientation).save(file, "TIFF", tiffinfo={0x0112: orientation})
            file.newFrame()
    photo = decode(out.getvalue())
    again = decode(encode(photo, photo.rgb, [frame.rgb for frame in photo.more]))
    for page, before, after in zip(pages, (photo, *photo.more), (again, *again.more), strict=True):
        assert np.array_equal(page, before.rgb)
        assert np.array_equal(page, after.rgb)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_a_cut_out_that_moves_leaves_no_trail(kind, astronaut):
    """Each frame is drawn afresh: what was before must not show through its holes."""
    figure = Image.fromarray(astronaut).resize((40, 40)).convert("RGBA")
    frames = [Image.new("RGBA", (120, 60)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste(figure, (5 + 35 * number, 5 * number))
    own = {"GIF": {"disposal": 2}, "WEBP": {"lossless": True}}.get(kind, {"disposal": 1})
    photo = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **own))
    again = decode(encode(photo, photo.rgb, [frame.rgb for frame in photo.more]))
    for frame, before, after in zip(frames, (photo, *photo.more), (again, *again.more), strict=True):
        assert np.array_equal(np.asarray(frame)[..., 3], before.pixels.opacity)
        assert before.pixels.looks_like(after.pixels)


def test_a_gif_of_many_palettes_comes_back_with_a_word(astronaut):
    """Its second frame covers half of the first, each in 200 colours of its own: one frame cannot hold 400."""
    first, second = (Image.fromarray(astronaut[:, left : left + 100]).quantize(200) for left in (0, 250))
    shown = np.array(first.convert("RGB"))
    shown[:, :50] = np.asarray(second.convert("RGB"))[:, :50]
    second.paste(200, (50, 0, 100, 512))
    second.info["transparency"] = 200
    data = saved(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(shown, np.array(ImageSequence.all_frames(opened(data))[1].convert("RGB")))
    photo = decode(data)
    assert any("256 colours" in warning for warning in photo.warnings)
    again = decode(encode(photo, photo.rgb, [frame.rgb for frame in photo.more]))
    assert np.array_equal(photo.more[0].rgb, again.more[0].rgb)
    assert np.abs(shown.astype(int) - again.more[0].rgb).mean() < 4


def test_frames_that_are_missing_are_refused(astronaut):
    """A programming error must not become a film of one picture."""
    first, *rest = frames_of(astronaut)
    photo = decode(saved(first, "PNG", save_all=True, append_images=rest))
    with pytest.raises(ValueError, match="shape"):
        encode(photo, photo.rgb)


def test_both_views_of_a_stereo_photo_come_back(astronaut, encoded):
    """An MPO holds several whole JPEGs, each with the face."""
    first, *rest = frames_of(astronaut)
    data = saved(first, "MPO", save_all=True, append_images=rest[:1])
    photo = decode(data)
    assert [1] == [view.number for view in photo.more]
    result = encode(photo, photo.rgb, [photo.more[0].rgb])
    with opened(result) as film:
        assert ("MPO", 2) == (film.format, film.n_frames)
    assert np.abs(photo.more[0].rgb.astype(int) - decode(result).more[0].rgb).max() < 40
    assert inspect_image(data) == inspect_image(result)


def test_views_stay_where_words_in_front_make_the_photo_longer(astronaut):
    """Taggers put a caption there. Offsets count from behind it, but the photo is longer than the index says."""
    first, *rest = frames_of(astronaut)
    data = saved(first, "MPO", save_all=True, append_images=rest[:1])
    words = b"\xff\xfe" + struct.pack(">H", 20_002) + b"c" * 20_000
    photo, tagged = decode(data), decode(data[:2] + words + data[2:])
    assert all(map(np.array_equal, photo.frames, tagged.frames))
    assert 2 == len(tagged.frames)


def test_a_smaller_secondary_picture_is_left_out_with_a_word(astronaut):
    """A preview shows the face, and a gain map of a changed photo is wrong."""
    first = frames_of(astronaut)[0]
    photo = decode(saved(first, "MPO", save_all=True, append_images=[first.resize((24, 24))]))
    assert () == photo.more
    assert any("secondary" in warning for warning in photo.warnings)
    with opened(encode(photo, photo.rgb)) as image:
        assert "JPEG" == image.format


GAIN = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>"


@pytest.mark.parametrize("said", ["grey", "Ultra HDR", "ISO", "preview"])
def test_a_map_as_large_as_the_photo_is_left_out_with_a_word(said, astronaut, encoded):
    """No face is found in so dim a picture, but who makes it brighter sees one, bare."""
    first = encoded(astronaut[:96, :96], "JPEG")
    dim = Image.fromarray((astronaut[:96, :96] * 0.02).astype(np.uint8))
    gain = saved(dim.convert("L") if said == "grey" else dim, "JPEG")
    if said in {"Ultra HDR", "ISO"}:
        mark = {"Ultra HDR": b"\xff\xe1", "ISO": b"\xff\xe2"}[said]
        words = {"Ultra HDR": GAIN, "ISO": b"urn:iso:std:iso:ts:21496:-1\0" + bytes(60)}[said]
        gain = gain[:2] + mark + struct.pack(">H", 2 + len(words)) + words + gain[2:]
    kind = 0x010002 if said == "preview" else 0
    data = formats.mpo([first, gain]).replace(struct.pack("<I", 0x020002), struct.pack("<I", kind), 1)
    assert 2 == opened(data).n_frames
    photo = decode(data)
    assert () == photo.more
    assert any("secondary" in warning for warning in photo.warnings)


@pytest.mark.parametrize("lost", ["cut off", "moved", "longer"])
def test_a_photo_whose_secondary_pictures_are_lost_is_read_all_the_same(lost, astronaut, encoded):
    """Messengers and editors drop what follows a phone's photo, or add words to it, and keep the index; every viewer
    shows the photo."""
    first, second = (encoded(astronaut[:96, left : left + 96], "JPEG") for left in (0, 4))
    data = formats.mpo([first, second])
    alone = data[: -len(second)]
    words = b"\xff\xfe" + struct.pack(">H", 202) + b"c" * 200
    place = data.index(b"\xff\xdb")  # behind the index, where what it names is moved too
    longer = data[:place] + words + data[place:]
    photo = decode({"cut off": alone, "moved": alone + bytes(10) + second, "longer": longer}[lost])
    assert np.array_equal(decode(first).rgb, photo.rgb)
    assert () == photo.more
    assert any("secondary" in warning for warning in photo.warnings)
    with pytest.raises(BrokenImage):
        decode(data[: len(first) // 2])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_palette_is_kept_and_untouched_pixels_with_it(kind, astronaut):
    """True colour would triple the file; and a GIF has nothing else."""
    image = Image.fromarray(astronaut).quantize(256)
    photo = decode(saved(image, kind))
    masked = photo.rgb.copy()
    masked[200:260, 200:260] = np.clip(masked[200:260, 200:260].astype(int) + 12, 0, 255)
    result = encode(photo, masked)
    again = decode(result)
    outside = np.ones(masked.shape[:2], bool)
    outside[200:260, 200:260] = False
    assert "P" == opened(result).mode
    assert np.array_equal(photo.rgb[outside], again.rgb[outside])
    moved = again.rgb[~outside].astype(int) - photo.rgb[~outside]
    assert 6 < moved.mean() < 18
    assert np.abs(again.rgb.astype(int) - reencoded(photo, masked)).mean() < 1


def test_a_palettes_transparent_colour_stays_where_it_was(astronaut):
    """A cut-out must keep its rim."""
    image = Image.fromarray(astronaut).quantize(200)
    photo = decode(saved(image, "PNG", transparency=7))
    result = opened(encode(photo, 255 - photo.rgb))
    holes = np.asarray(image) == 7
    assert 7 == result.info["transparency"]
    assert np.array_equal(holes, np.asarray(result) == 7)


def test_too_many_frames_are_refused_from_the_header(monkeypatch, astronaut):
    """Each is looked through; an endless film would never be done."""
    first, *rest = frames_of(astronaut)
    film = saved(first, "GIF", save_all=True, append_images=rest)
    monkeypatch.setattr("pmask.images.photo.MAX_FRAMES", 2)
    with pytest.raises(TooManyPixels, match="3 frames"):
        inspect_image(film)


def test_exotic_modes_are_refused_in_words(astronaut):
    """They could not come back as they came."""
    with pytest.raises(UnsupportedImage, match="LAB"):
        inspect_image(saved(Image.fromarray(astronaut).convert("LAB"), "TIFF"))


@pytest.mark.parametrize("path", sorted(FINDS.iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_found_is_refused_or_returned(path):
    """Each made Pillow raise what nobody expected, or return another size than it had said (scripts/fuzz_images.py)."""
    try:
        photo = decode(path.read_bytes())
    except PMaskError as error:
        assert 400 <= error.status < 500
    else:
        assert photo.info == decode(encode(photo, photo.rgb)).info


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
        except NotAnImage:
            assert "photo.jp2" == path.name
            continue
        result = encode(photo, photo.rgb, [frame.rgb for frame in photo.more])
        again = decode(result)
        assert photo.info == again.info, path.name
        assert len(photo.more) == len(again.more), path.name
        # of a lossless or a refined file, the packing may be the better one; a bilevel photo needs grey for its mask
        least = 0 if photo.way.refined or not photo.lossy else 0.85
        most = 1.5 if photo.way.refined or path.stem == "bilevel" else 1.15
        assert least < len(result) / len(data) < most, path.name
        assert opened(data).getexif().get(0x0112) == opened(result).getexif().get(0x0112), path.name
        assert opened(data).info.get("icc_profile") == opened(result).info.get("icc_profile"), path.name
        away = np.abs(photo.rgb.astype(int) - again.rgb)
        assert away.max() <= (30 if photo.lossy else 0), path.name
        assert away.mean() <= (1.7 if photo.way.refined else 1.5), path.name
        returned += 1
    assert returned >= 41


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_a_photo_without_colour_is_known_whatever_its_codec_leaves(kind, astronaut, encoded):
    """Its mask has none either; one of muted colours keeps them."""
    grey = np.repeat(astronaut.mean(2, keepdims=True), 3, 2)
    muted = (grey + (astronaut - grey) * 0.2).round()
    pictures = [decode(encoded(rgb.astype(np.uint8), kind, quality=75)) for rgb in (grey, muted)]
    assert [True, False] == [photo.colourless for photo in pictures]
