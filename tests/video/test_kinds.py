"""Videos as phones, cameras, browsers and editors make them: colours, fields, clocks, depths."""

import io
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tgl_e2e.errors import InputError
from tgl_e2e.video import colour
from tgl_e2e.video.reader import open_video
from tgl_e2e.video.source import VideoWarning
from tgl_e2e.video.writer import VideoWriter

RED = (220, 30, 30)


def read(source) -> list[np.ndarray]:
    return [rgb for _, rgb in open_video(source).frames()]


# --- transfer curves and primaries ------------------------------------------------------------


def linear(rgb) -> np.ndarray:
    value = np.array(rgb, float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def signal_of(rgb, transfer: int, primaries: int) -> np.ndarray:
    """An sRGB colour in another transfer and other primaries, by the formulas of BT.2100."""
    light = np.linalg.inv(np.array(colour.TO_BT709[primaries])) @ linear(rgb)
    if transfer == colour.HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = light * (np.exp((0.75 - c) / a) + b) / 12  # diffuse white at a signal of 0.75
        high = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
        return np.where(scene <= 1 / 12, np.sqrt(3 * np.maximum(scene, 0)), high)
    if transfer == colour.PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = (np.maximum(light, 0) * 203 / 10000) ** m1
        return ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.abs(light) ** (1 / 2.4) - 0.055)


def write_plain(path, rgb, codec: str, transfer: int, primaries: int) -> None:
    """Four frames of one colour in 10 bits, tagged as a phone tags them."""
    r, g, b = signal_of(rgb, transfer, primaries)
    kr, kb = (0.2627, 0.0593) if primaries == 9 else (0.2126, 0.0722)
    luma = kr * r + (1 - kr - kb) * g + kb * b
    planes = (
        round(64 + 876 * luma),
        round(512 + 896 * (b - luma) / (2 * (1 - kb))),
        round(512 + 896 * (r - luma) / (2 * (1 - kr))),
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, primaries
        context.colorspace, context.color_range = (9 if primaries == 9 else 1), 1
        for i in range(4):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, planes, strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, "<u2").tobytes())
            frame.colorspace, frame.color_range = context.colorspace, 1
            frame.color_trc, frame.color_primaries = transfer, primaries
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
@pytest.mark.parametrize(
    ("transfer", "primaries"), [(18, 9), (16, 9), (13, 12)], ids=["HLG", "PQ", "Display P3"]
)
def test_high_dynamic_range_keeps_its_colours(tmp_path, codec, transfer, primaries):
    for rgb in (RED, (128, 128, 128), (40, 90, 200)):
        write_plain(tmp_path / "a.mp4", rgb, codec, transfer, primaries)
        found = read(tmp_path / "a.mp4")
        assert len(found) == 4
        assert np.abs(found[0].reshape(-1, 3).mean(axis=0) - rgb).max() < 15, rgb


def test_what_is_brighter_than_white_stays_below_it():
    for transfer in (colour.PQ, colour.HLG):
        light = colour._linear(transfer)
        assert light.max() <= 1 and (np.diff(light) >= 0).all()


# --- fields, clocks, shapes of pixels -----------------------------------------------------------


def test_interlaced_video_is_not_combed(tmp_path):
    """A bar that moves between the two fields of a frame has straight edges afterwards."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ildct+ilme", "b": "4M", "bf": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(12):
            rgb = np.zeros((64, 96, 3), np.uint8)
            rgb[0::2, 10 + 4 * i : 30 + 4 * i] = 255
            rgb[1::2, 12 + 4 * i : 32 + 4 * i] = 255
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        plain = [frame for frame in container.decode(video=0)]
    assert plain[0].interlaced_frame, "the file is not what this test is about"
    found = read(path)
    assert len(found) == len(plain) == 12

    def combs(rgb: np.ndarray) -> float:
        grey = rgb.mean(axis=2)
        return np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:])[8:-8].mean()

    middle = slice(3, 9)
    before = np.mean([combs(f.to_ndarray(format="rgb24")) for f in plain[middle]])
    assert np.mean([combs(rgb) for rgb in found[middle]]) < 0.35 * before


def test_a_last_frame_that_stands_for_seconds_is_no_damage(tmp_path):
    path = tmp_path / "screen.mp4"
    with VideoWriter(path, 10, (64, 64)) as writer:
        for i in range(12):
            writer.write(np.full((64, 64, 3), 20 * i, np.uint8), i / 10 if i < 11 else 9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(path)) == 12


def test_a_clock_in_milliseconds_is_no_frame_rate(tmp_path):
    path = tmp_path / "browser.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=1000)
        stream.width = stream.height = 64
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * i, np.uint8), "rgb24")
            frame.pts, frame.time_base = 33 * i, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert open_video(path).fps == pytest.approx(30.3, abs=1)


def test_the_shape_of_pixels_is_kept_in_the_overlay(tmp_path):
    for path, aspect in ((tmp_path / "wide.mp4", Fraction(16, 11)), (tmp_path / "a.mp4", 1)):
        with VideoWriter(path, 10, (64, 64), Fraction(aspect)) as writer:
            for _ in range(3):
                writer.write(np.zeros((64, 64, 3), np.uint8))
        source = open_video(path)
        assert source.pixel_aspect == aspect and source.size == (64, 64)


def test_side_data_that_has_no_name_is_stepped_over(tmp_path):
    """Motion JPEG of photographs with EXIF."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    with (tmp_path / "a.mjpeg").open("wb") as file:
        for i in range(3):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 48), (50 * i, 0, 0)).save(buffer, "JPEG", exif=exif)
            file.write(buffer.getvalue())
    assert len(read(tmp_path / "a.mjpeg")) == 3


# --- still images ------------------------------------------------------------------------------


def ramp() -> np.ndarray:
    return np.linspace(0, 255, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize("kind", ["I;16", "I;16B", "float", "float of bytes", "8 bits"])
def test_deep_images_are_scaled_by_their_depth(tmp_path, kind):
    deep = (ramp() * 257).astype(np.uint16)
    path = tmp_path / ("00000.png" if kind in ("I;16", "8 bits") else "00000.tif")
    if kind == "I;16":
        Image.fromarray(deep).save(path)
    elif kind == "I;16B":
        Image.frombytes("I;16B", (64, 64), deep.astype(">u2").tobytes()).save(path)
    elif kind == "8 bits":
        Image.fromarray(ramp().astype(np.uint8)).save(path)
    else:
        Image.fromarray((ramp() / (255 if kind == "float" else 1)).astype(np.float32)).save(path)
    (rgb,) = read(tmp_path)
    assert np.abs(rgb.mean(axis=2) - ramp()).max() <= 1.0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_the_colour_under_transparency_is_not_seen(tmp_path, mode):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 0] = 200  # red, hidden in the right half
    rgba[:, :16, 3] = 255
    image = Image.fromarray(rgba)
    if mode == "P":
        image = Image.new("P", (32, 32), 0)
        image.putpalette([200, 0, 0, 0, 0, 255])
        image.putpixel((31, 0), 1)
        image.save(tmp_path / "00000.png", transparency=1)
    else:
        image.convert(mode).save(tmp_path / "00000.png")
    with pytest.warns(VideoWarning, match="white"):
        (rgb,) = read(tmp_path)
    assert (rgb[0, 31] == 255).all() and (rgb[16, 2] != 255).any()


def test_images_and_masks_of_one_name_are_refused(tmp_path):
    for name in ("00000.jpg", "00000.png", "00001.jpg", "00001.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"00000\.jpg and 00000\.png") as error:
        open_video(tmp_path)
    assert "\n" not in str(error.value)


def test_an_animated_webp_is_read(tmp_path):
    frames = [Image.new("RGB", (48, 32), (40 * i, 10, 10)) for i in range(5)]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    source = open_video(path)
    assert source.num_frames == 5 and source.fps == pytest.approx(10) and source.size == (32, 48)
    assert [int(rgb[0, 0, 0]) for _, rgb in source.frames(1, 5, 2)] == [40, 120]
