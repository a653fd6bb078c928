"""Ten slices, epoch by epoch, as a video: composed with NumPy and Pillow, encoded as H.264."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from headrest.hounsfield import WIDE, window
from headrest.train.frames import Frames, read_frames
from headrest.util.colors import EXTRA_COLOR, PADDING_COLOR, SUPPORT_COLOR
from headrest.util.errors import HeadrestError
from headrest.util.files import atomic_file
from headrest.util.packages import require

INK, PAPER, FAINT = (235, 235, 235), (17, 17, 17), (90, 90, 90)
HIT, MISSED, EXTRA = map(ImageColor.getrgb, (SUPPORT_COLOR, PADDING_COLOR, EXTRA_COLOR))
"""Headrest in the label and found; in the label and not found; found and not in the label."""

TILE, GAP, HEAD = 192, 8, 64
OPACITY = 200 / 255
COLUMNS, PARTS = 2, ("input", "label", "prediction")
SIZE = (1920, 1080)
"""Width and height of a frame in pixels, both even as H.264 wants them."""


def write_video(run: str | Path, path: str | Path, fps: float | None = None) -> int:
    """Encode the kept frames of a run, one frame an epoch.

    Parameters
    ----------
    run : path, as `headrest.train.loop.train` left it, finished or not.
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
    with atomic_file(path) as aside:
        writers[path.suffix.lower()](aside, compose(frames), fps)
    return len(frames.files)


def _write_mp4(path, pictures, fps):
    require("imageio_ffmpeg")
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


def compose(frames: Frames) -> Iterator[np.ndarray]:
    """Compose pictures, epoch after epoch.

    Parameters
    ----------
    frames : headrest.train.frames.Frames

    Yields
    ------
    uint8 array (1080, 1920, 3), RGB: ten slices as input, label and prediction; the epoch; the
    loss and Dice up to there.
    """
    sheet = _Sheet(frames)
    for i in range(len(frames.files)):
        picture = sheet.paper.copy()
        sheet.lay_found(picture, frames.found(i))
        picture[:, _panel_left() :] = sheet.panel(i)
        yield picture


class _Sheet:
    """What stays the same from epoch to epoch, drawn once, and how the rest is laid over it.

    Attributes
    ----------
    paper : uint8 array (1080, 1920, 3): inputs, labels, headings; as predictions, every
        headrest missed.
    bins : int array, for every pixel of the slices the pixel of a tile that it falls into;
        tiles are numbered through, slice by slice.
    weight : float32 array (pixels of all tiles,), opacity that one of the former adds to each.
    places : int array (pixels of all tiles,), where a prediction lies in the flat picture.
    """

    def __init__(self, frames):
        self.frames, self.label = frames, _enlarged(frames.labels > 0).ravel()
        self.bins, self.places = _bins(frames.labels), _places(len(frames.labels))
        self.weight = np.float32(OPACITY) / np.bincount(self.bins)
        self.grey = np.concatenate([_grey(hu) for hu in frames.hu]).reshape(-1, 1)
        share = (self.weight * self._count(np.flatnonzero(self.label)))[:, None]
        self.missed = self.grey + share * (np.float32(MISSED) - self.grey)
        parts = self.grey, self.grey + share * (np.float32(HIT) - self.grey), self.missed
        self.paper = np.full((SIZE[1], SIZE[0], 3), PAPER, np.uint8)
        for part, colours in enumerate(parts):
            places = self.places + (part - 2) * (TILE + 2)
            self.paper.reshape(-1, 3)[places] = np.rint(colours)
        self._words()

    def _words(self):
        page = Image.fromarray(self.paper)
        _headings(ImageDraw.Draw(page), min(COLUMNS, len(self.frames.hu)))
        self.paper = np.array(page)
        self.empty = page.crop((_panel_left(), 0, *SIZE))
        for box, top, *_ in self._curves():
            _axes(ImageDraw.Draw(self.empty), box, top)

    def _count(self, pixels):
        """How many of these pixels fall into each pixel of the tiles."""
        return np.bincount(self.bins[pixels], minlength=self.places.size)

    def lay_found(self, picture, found):
        """Colour the predictions of a picture; only what was found differs from the sheet."""
        found = np.flatnonzero(_enlarged(found))
        every, hits = self._count(found), self._count(found[self.label[found]])
        at = np.flatnonzero(every)
        hit, extra = ((self.weight[at] * n[at])[:, None] for n in (hits, every - hits))
        colours = self.missed[at] + hit * np.subtract(HIT, MISSED, dtype=np.float32)
        colours += extra * (np.float32(EXTRA) - self.grey[at])
        picture.reshape(-1, 3)[self.places[at]] = np.rint(colours)

    def panel(self, i):
        """Draw the epoch and the curves up to it: uint8 array (1080, rest of the width, 3)."""
        panel, epochs = self.empty.copy(), self.frames.epoch
        draw = ImageDraw.Draw(panel)
        draw.text((0, 90), f"epoch {epochs[i]}", INK, _font(64), anchor="ls")
        draw.text((0, 140), f"of {epochs[-1]}", FAINT, _font(32), anchor="ls")
        for curve in self._curves():
            _curve(draw, *curve, i)
        return np.asarray(panel)

    def _curves(self):
        right, loss = SIZE[0] - 40 - _panel_left(), self.frames.loss
        return (
            ((0, 260, right, 560), 1.0, self.frames.dice, "Dice, held out", HIT),
            ((0, 680, right, 960), float(loss.max()), loss, "loss, training", MISSED),
        )


def _bins(masks):
    n, *sides = _enlarged(masks).shape
    y, x = (np.arange(side) * TILE // side for side in sides)
    rows = np.arange(n)[:, None] * TILE + y
    return (rows[..., None] * TILE + x).astype(np.int32).ravel()


def _enlarged(masks):
    """Repeat pixels until a slice is no smaller than its tile."""
    times = -(-TILE // masks.shape[1])
    return masks.repeat(times, 1).repeat(times, 2) if times > 1 else masks


def _places(n):
    corners = np.array([_corner(k, 2) for k in range(n)])[..., None, None]
    y, x = np.mgrid[:TILE, :TILE]
    return ((corners[:, 1] + y) * SIZE[0] + corners[:, 0] + x).ravel()


def _grey(hu):
    grey = np.float32(255 * window(hu.astype(np.float32), *WIDE))
    return np.asarray(Image.fromarray(grey).resize((TILE, TILE), Image.Resampling.BOX))


def _headings(draw, columns):
    for column in range(columns):
        for part, name in enumerate(PARTS):
            x, y = _corner(column, part)
            draw.text((x + TILE // 2, y - 12), name, INK, _font(22), anchor="ms")
    legend = (("found", HIT), ("missed", MISSED), ("too much", EXTRA))
    for n, (name, color) in enumerate(legend):
        x, y = _panel_left() + 150 * n, SIZE[1] - 40
        draw.rectangle((x, y - 9, x + 18, y + 9), color)
        draw.text((x + 26, y), name, INK, _font(22), anchor="lm")


def _axes(draw, box, top):
    x0, y0, x1, y1 = box
    draw.line((x0, y0, x0, y1, x1, y1), FAINT, 2)
    draw.line((x0, y0, x1, y0), FAINT, 1)
    draw.text((x1, y0 + 4), f"{top:.3g}", FAINT, _font(20), anchor="rt")


def _curve(draw, box, top, values, name, color, i):
    """Draw values up to the i-th into a box (left, top, right, bottom), from 0 to `top`."""
    x0, y0, x1, y1 = box
    draw.text((x0, y0 - 14), f"{name}: {values[i]:.3f}", color, _font(32), anchor="ls")
    x = np.linspace(x0, x1, max(len(values), 2))[: i + 1]
    y = y1 - (y1 - y0) * np.clip(values[: i + 1] / (top or 1), 0, 1)
    points = list(zip(x.tolist(), y.tolist()))
    draw.line(points, color, 4)
    x, y = points[-1]
    draw.ellipse((x - 6, y - 6, x + 6, y + 6), color)


def _corner(k, part):
    row, column = divmod(k, COLUMNS)
    x = GAP + column * (len(PARTS) * (TILE + 2) + 3 * GAP) + part * (TILE + 2)
    return x, HEAD + row * (TILE + GAP)


def _panel_left():
    return _corner(COLUMNS, 0)[0] + COLUMNS * (len(PARTS) * (TILE + 2) + 3 * GAP) + 3 * GAP


@lru_cache
def _font(size):
    return ImageFont.load_default(size)
