"""Ten slices, epoch by epoch, as a video: composed with NumPy and Pillow, encoded as H.264."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headrest.errors import HeadrestError
from headrest.files import whole_file
from headrest.frames import read_frames
from headrest.hounsfield import window

INK, PAPER, FAINT = (235, 235, 235), (17, 17, 17), (90, 90, 90)
HIT, MISSED, EXTRA = (213, 94, 0), (86, 180, 233), (240, 228, 66)
"""Headrest in the label and found; in the label and not found; found and not in the label."""

WINDOW = (-300.0, 1400.0)
TILE, GAP, HEAD = 192, 8, 64
COLUMNS, PARTS = 2, ("input", "label", "prediction")
SIZE = (1920, 1080)
"""Width and height of a frame in pixels, both even as H.264 wants them."""


def write_video(run, path, fps=None):
    """Encode the kept frames of a run, one frame an epoch.

    Parameters
    ----------
    run : path, as `headrest.fit.train` left it, finished or not.
    path : path
        .mp4 for H.264, which browsers and notebooks play; .webp or .gif for a small animation,
        which a README shows. Replaced whole if it exists.
    fps : float, optional, epochs a second; by default so many that all take 15 seconds, but 1
        to 10.

    Returns
    -------
    int, frames written.

    Raises
    ------
    HeadrestError
        Where nothing is kept, or the place cannot be written to.
    """
    frames, path = read_frames(run), Path(path)
    writers = {".mp4": _write_mp4, ".webp": _write_animation, ".gif": _write_animation}
    if path.suffix.lower() not in writers:
        raise HeadrestError(f"{path}: choose a name that ends in {', '.join(writers)}")
    fps = fps or min(max(len(frames.files) / 15, 1), 10)
    with whole_file(path) as aside:
        writers[path.suffix.lower()](aside, compose(frames), fps)
    return len(frames.files)


def _write_mp4(path, pictures, fps):
    import imageio_ffmpeg  # looks for its program when imported

    options = ["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        SIZE,
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=None,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=options,
    )
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()


def _write_animation(path, pictures, fps, width=960):
    height = SIZE[1] * width // SIZE[0]
    small = [Image.fromarray(p).resize((width, height), Image.Resampling.BOX) for p in pictures]
    each = [round(1000 / fps)] * len(small)
    each[-1] += 2000
    small[0].save(path, save_all=True, append_images=small[1:], duration=each, loop=0, quality=60)


def compose(frames):
    """Compose pictures, epoch after epoch.

    Parameters
    ----------
    frames : headrest.frames.Frames

    Yields
    ------
    uint8 array (1080, 1920, 3), RGB: ten slices as input, label and prediction; the epoch; the
    loss and Dice up to there.
    """
    sheet = _sheet(frames)
    for i in range(len(frames.files)):
        yield np.asarray(_picture(sheet, frames, i))


def _sheet(frames):
    """What stays the same: inputs, labels, headings."""
    sheet = Image.new("RGB", SIZE, PAPER)
    for k, (hu, label) in enumerate(zip(frames.hu, frames.labels)):
        grey = _grey(hu)
        for part in range(len(PARTS)):
            sheet.paste(grey, _corner(k, part))
        _lay(sheet, label > 0, HIT, _corner(k, 1))
    draw = ImageDraw.Draw(sheet)
    for column in range(min(COLUMNS, len(frames.hu))):
        for part, name in enumerate(PARTS):
            x, y = _corner(column, part)
            draw.text((x + TILE // 2, y - 12), name, INK, _font(22), anchor="ms")
    legend = (("found", HIT), ("missed", MISSED), ("too much", EXTRA))
    for n, (name, color) in enumerate(legend):
        x, y = _panel_left() + 150 * n, SIZE[1] - 40
        draw.rectangle((x, y - 9, x + 18, y + 9), color)
        draw.text((x + 26, y), name, INK, _font(22), anchor="lm")
    return sheet


def _picture(sheet, frames, i):
    picture = sheet.copy()
    for k, (found, label) in enumerate(zip(frames.found(i), frames.labels > 0)):
        for mask, color in (
            (found & label, HIT),
            (label & ~found, MISSED),
            (found & ~label, EXTRA),
        ):
            _lay(picture, mask, color, _corner(k, 2))
    draw = ImageDraw.Draw(picture)
    left = _panel_left()
    draw.text((left, 90), f"epoch {frames.epoch[i]}", INK, _font(64), anchor="ls")
    draw.text((left, 140), f"of {frames.epoch[-1]}", FAINT, _font(32), anchor="ls")
    _curve(draw, (left, 260, SIZE[0] - 40, 560), frames.dice, i, "Dice, held out", HIT, 1.0)
    top = float(frames.loss.max())
    _curve(draw, (left, 680, SIZE[0] - 40, 960), frames.loss, i, "loss, training", MISSED, top)
    return picture


def _curve(draw, box, values, i, name, color, top):
    """Draw values up to the i-th into a box (left, top, right, bottom), from 0 to `top`."""
    x0, y0, x1, y1 = box
    draw.line((x0, y0, x0, y1, x1, y1), FAINT, 2)
    draw.line((x0, y0, x1, y0), FAINT, 1)
    draw.text((x1, y0 + 4), f"{top:.3g}", FAINT, _font(20), anchor="rt")
    draw.text((x0, y0 - 14), f"{name}: {values[i]:.3f}", color, _font(32), anchor="ls")
    x = np.linspace(x0, x1, max(len(values), 2))[: i + 1]
    y = y1 - (y1 - y0) * np.clip(values[: i + 1] / (top or 1), 0, 1)
    points = list(zip(x.tolist(), y.tolist()))
    draw.line(points, color, 4)
    draw.ellipse(
        [points[-1][0] - 6, points[-1][1] - 6, points[-1][0] + 6, points[-1][1] + 6], color
    )


def _corner(k, part):
    row, column = divmod(k, COLUMNS)
    x = GAP + column * (len(PARTS) * (TILE + 2) + 3 * GAP) + part * (TILE + 2)
    return x, HEAD + row * (TILE + GAP)


def _panel_left():
    return _corner(COLUMNS, 0)[0] + COLUMNS * (len(PARTS) * (TILE + 2) + 3 * GAP) + 3 * GAP


def _grey(hu):
    grey = np.rint(255 * window(hu.astype(np.float32), *WINDOW)).astype(np.uint8)
    return Image.fromarray(grey).resize((TILE, TILE), Image.Resampling.BOX).convert("RGB")


def _lay(picture, mask, color, corner):
    """Lay a colour over a tile where the mask is."""
    if mask.any():
        share = Image.fromarray(mask.view(np.uint8) * np.uint8(200))
        at = (*corner, corner[0] + TILE, corner[1] + TILE)
        picture.paste(color, at, share.resize((TILE, TILE), Image.Resampling.BOX, reducing_gap=1))


@lru_cache
def _font(size):
    return ImageFont.load_default(size)
