"""Ten held-out slices, epoch by epoch, as a video: drawn with Pillow, encoded by imageio."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from headrest.hounsfield import WIDE, window
from headrest.train.checkpoints import Frames, read_frames
from headrest.util import EXTRA_COLOR, PADDING_COLOR, SUPPORT_COLOR, HeadrestError, require
from headrest.util.files import atomic_file

FRAME_SIZE = (1920, 1080)
"""Width and height of a frame in pixels; H.264 needs even numbers."""

TEXT_COLOR, PAPER_COLOR, LINE_COLOR = "#ebebeb", "#111111", "#5a5a5a"
LEGEND = {"found": SUPPORT_COLOR, "missed": PADDING_COLOR, "false": EXTRA_COLOR}
OVERLAY_OPACITY = 200 / 255

TILE_PX, TILE_STEP_PX, TILE_COLUMNS = 192, 194, 2
PANEL_LEFT_PX, CURVE_WIDTH_PX = 1244, 636


def write_video(run: str | Path, path: str | Path, fps: float | None = None) -> int:
    """Encode the stored frames of a training run, one frame per epoch, the untrained network first.

    Parameters
    ----------
    run : path, written by `headrest.train.loop.train`, finished or not.
    path : path of .mp4 (H.264, which browsers and notebooks play), or of a small .webp or .gif.
    fps : float, optional, epochs per second; by default 15 seconds in all, but 1 to 10 epochs per
        second.

    Returns
    -------
    int, frames written.

    Raises
    ------
    HeadrestError
        Where the run has no frames, imageio is missing, or the path cannot be written to.
    """
    frames, suffix = read_frames(run), Path(path).suffix.lower()
    writers = {".mp4": _write_mp4, ".webp": _write_animation, ".gif": _write_animation}
    if suffix not in writers:
        raise HeadrestError(f"{path}: choose a name that ends in {', '.join(writers)}")
    fps = fps or min(max(len(frames.files) / 15, 1), 10)
    with atomic_file(path) as temporary:
        writers[suffix](temporary, compose(frames), fps)
    return len(frames.files)


def _write_mp4(path, pictures, fps):
    require("imageio")
    require("imageio_ffmpeg")
    import imageio

    encoding = ["-crf", "26", "-preset", "medium", "-movflags", "+faststart"]
    options = {"codec": "libx264", "quality": None, "macro_block_size": 2, "fps": fps}
    options["ffmpeg_log_level"] = "error"  # it warns of videos of two frames
    writer: Any
    with imageio.get_writer(path, "ffmpeg", output_params=encoding, **options) as writer:
        for picture in pictures:
            writer.append_data(picture)


def _write_animation(path, pictures, fps):
    small = [Image.fromarray(p).resize((960, 540), Image.Resampling.BOX) for p in pictures]
    duration = [round(1000 / fps)] * (len(small) - 1) + [round(1000 / fps) + 2000]
    options: dict = {"duration": duration, "loop": 0, "quality": 60}
    small[0].save(path, save_all=True, append_images=small[1:], **options)


def compose(frames: Frames) -> Iterator[np.ndarray]:
    """Draw the frames of a video: ten slices as input, label and prediction; the loss and Dice.

    Parameters
    ----------
    frames : as `headrest.train.checkpoints.read_frames` returns them.

    Yields
    ------
    uint8 array (1080, 1920, 3), RGB, for each epoch.
    """
    labels = frames.labels > 0
    greys = [_shrink(np.float32(255 * window(hu.astype(np.float32), *WIDE))) for hu in frames.hu]
    sheet = Image.new("RGB", FRAME_SIZE, PAPER_COLOR)
    _draw_headings(ImageDraw.Draw(sheet), min(TILE_COLUMNS, len(greys)))
    panel, page = sheet.crop((PANEL_LEFT_PX, 0, *FRAME_SIZE)), np.array(sheet)
    for k, (grey, label) in enumerate(zip(greys, labels)):
        page[_place(k, 0)], page[_place(k, 1)] = grey[..., None], _tile(grey, label, label)
    for i in range(len(frames.files)):
        frame = page.copy()
        for k, (grey, label, found) in enumerate(zip(greys, labels, frames.found(i))):
            frame[_place(k, 2)] = _tile(grey, label, found)
        frame[:, PANEL_LEFT_PX:] = _draw_panel(panel.copy(), frames, i)
        yield frame


def _shrink(image):
    square = (TILE_PX, TILE_PX)
    return np.asarray(Image.fromarray(image).resize(square, Image.Resampling.BOX), np.float32)


def _tile(grey, label, found):
    """A slice of (TILE_PX, TILE_PX) with found, missed and false pixels in their colours."""
    masks = (label & found, label & ~found, found & ~label)
    shares = np.stack([_shrink(np.uint8(255) * mask) for mask in masks], -1) * OVERLAY_OPACITY / 255
    colors = np.array([ImageColor.getrgb(color) for color in LEGEND.values()], np.float32)
    return np.rint(shares @ colors + (grey * (1 - shares.sum(-1)))[..., None])


def _place(k, part):
    """Rows and columns of a tile: slice k as input (part 0), label (1) or prediction (2)."""
    row, column = divmod(k, TILE_COLUMNS)
    y, x = 64 + (TILE_PX + 8) * row, 8 + (3 * TILE_STEP_PX + 24) * column + TILE_STEP_PX * part
    return slice(y, y + TILE_PX), slice(x, x + TILE_PX)


def _draw_headings(draw, columns):
    for column in range(columns):
        for part, name in enumerate(("input", "label", "prediction")):
            rows, columns_x = _place(column, part)
            x, y = columns_x.start + TILE_PX // 2, rows.start - 12
            draw.text((x, y), name, TEXT_COLOR, _font(36), anchor="ms")
    for n, (name, color) in enumerate(LEGEND.items()):
        x, y = PANEL_LEFT_PX + 170 * n, FRAME_SIZE[1] - 40
        draw.rectangle((x, y - 9, x + 18, y + 9), color)
        draw.text((x + 26, y), name, TEXT_COLOR, _font(36), anchor="lm")


def _draw_panel(panel, frames, i):
    """Draw the epoch, and the curves up to it."""
    draw = ImageDraw.Draw(panel)
    draw.text((0, 90), f"epoch {frames.epoch[i]}", TEXT_COLOR, _font(64), anchor="ls")
    draw.text((0, 140), f"of {frames.epoch[-1]}", TEXT_COLOR, _font(40), anchor="ls")
    _draw_curve(draw, 260, 560, 1.0, frames.dice, "Dice, held out", SUPPORT_COLOR, i)
    top = float(np.nanmax(frames.loss, initial=0.0))
    _draw_curve(draw, 680, 960, top, frames.loss, "loss, training", PADDING_COLOR, i)
    return panel


def _draw_curve(draw, y0, y1, top, values, name, color, i):
    right = CURVE_WIDTH_PX
    draw.line((0, y0, 0, y1, right, y1), LINE_COLOR, 2)
    draw.line((0, y0, right, y0), LINE_COLOR, 1)
    draw.text((right, y0 + 4), f"{top:.3g}", TEXT_COLOR, _font(36), anchor="rt")
    number = "" if np.isnan(values[i]) else f": {values[i]:.3f}"  # no loss before training
    draw.text((0, y0 - 14), name + number, color, _font(40), anchor="ls")
    x = np.linspace(0, right, max(len(values), 2))[: i + 1]
    y = y1 - (y1 - y0) * np.clip(values[: i + 1] / (top or 1), 0, 1)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not len(x):
        return
    draw.line(list(zip(x.tolist(), y.tolist())), color, 4)
    draw.ellipse((x[-1] - 6, y[-1] - 6, x[-1] + 6, y[-1] + 6), color)


@lru_cache
def _font(size):
    return ImageFont.load_default(size)
