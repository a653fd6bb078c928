"""Figures, the slice viewer, the components of many patients, and the video of stored epochs."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import refused
from factories import hide
from PIL import Image, ImageColor
from pydicom.data import get_testdata_file

from headrest import series_from_array
from headrest.__main__ import main
from headrest.phantom import synthesize
from headrest.segment.support import Support
from headrest.show import browse, scans
from headrest.show.figures import image_sides, montage, overlay, plt, save, show_slices
from headrest.show.methods import draw_clusters, draw_components, measure_components
from headrest.show.video import FRAME_SIZE, LEGEND, compose, write_video
from headrest.train import checkpoints as frames

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("draw", [show_slices, montage])
def test_masks_and_classes_are_coloured(draw):
    hu = np.full((3, 8, 8), -300.0)
    figure = draw(hu, masks=np.arange(3)[:, None, None] + 0 * hu > 1)
    shown = np.concatenate([axis.images[0].get_array().reshape(-1, 3) for axis in figure.axes])
    grey = np.isclose(shown, 0.5, atol=0.01).all(1)  # -300 HU is the center of the window
    coloured = np.ptp(shown, axis=1) > 0
    assert coloured.sum() / (coloured | grey).sum() == pytest.approx(1 / 3)
    colours = overlay(np.zeros((1, 4)), np.array([[0, 1, 2, 255]], np.uint8))[0]
    assert len(np.unique(colours, axis=0)) == 4


def test_left_of_the_patient_is_marked():
    assert image_sides([-1, 0, 0, 0, 1, 0]) == "LR"
    lying = series_from_array(np.full((3, 40, 40), -1000), (5, 3, 3))
    lying = replace(lying, orientation=np.array([0.1, -0.995, 0, 0.995, 0.1, 0]))  # on the side
    (axis,) = scans.draw_slice(lying).axes
    assert [text.get_text() for text in axis.texts][:2] == ["P", "A"]
    (axis,) = show_slices([np.zeros((100, 100))], spacing_mm=(5, 1, 1), sides="LR").axes
    places = {text.get_text(): text.get_position()[0] for text in axis.texts}
    assert places["L"] < 50 < places["R"]
    assert np.ptp(axis.lines[0].get_xdata()) == 50  # mm, of 1 mm pixels
    patients, options = np.zeros((2, 99, 99)), {"step": 1, "columns": 2, "sides": ["RL", "LR"]}
    (axis,) = montage(patients, spacing_mm=[(5, 1, 1), (5, 2, 2)], **options).axes
    assert [np.ptp(line.get_xdata()) for line in axis.lines] == pytest.approx([50, 25])
    letters = sorted((one.get_position()[0], one.get_text()) for one in axis.texts)
    assert [text for _, text in letters if len(text) == 1] == ["R", "L", "L", "R"]


def test_importing_figures_leaves_the_style_of_the_user():
    code = "from matplotlib import *; use('agg'); own = rcParams.copy(); import headrest.show.scans"
    code += "; assert rcParams == own; headrest.show.figures.use_style(); assert rcParams != own"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_saved_pictures_have_palettes_or_are_jpeg(tmp_path):
    figure = show_slices([np.zeros((8, 8))])
    for name, mode in (("one.png", "P"), ("one.jpg", "RGB"), ("one.jpeg", "RGB")):
        save(figure, tmp_path / name, close=name == "one.jpeg")
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == mode
    assert figure.number not in plt.get_fignums()


@pytest.fixture
def shell():
    """A ball in front of a plate, 40 slices of 1 mm, and the plate as support."""
    z, y, x = np.mgrid[:40, :60, :60]
    ball = (z - 20) ** 2 + (y - 25) ** 2 + (x - 30) ** 2 < 15**2
    plate = (y > 50) & (y < 55)
    series = series_from_array(np.where(ball | plate, 100, -1000), (1, 1, 1))
    return series, Support(plate, plate & False, ball, ("free",) * 40)


def test_viewer_is_a_figure_outside_jupyter_and_has_sliders_in_it(shell, monkeypatch):
    with monkeypatch.context() as imported:
        imported.setitem(sys.modules, "ipykernel", sys)  # as by a test of notebooks
        (axis,) = browse(*shell, index=19, window="air").axes
    assert axis.get_title() == "slice 20 of 40, air window"
    assert len(axis.collections) == 2  # outlines of support and patient
    refused("no window 'lung': choose from wide", browse, shell[0], window="lung")
    refused("no slice 40: choose from 0 to 39", browse, shell[0], index=40)
    refused("a mask of", browse, get_testdata_file("693_UNCR.dcm", download=False), shell[1])
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(scans, "_has_widgets", lambda: True)
    plt.close("all")
    slider, choice, picture = browse(*shell).children
    assert (slider.value, slider.max, list(choice.options)) == (20, 39, list(scans.WINDOWS))
    pictures = {picture.value}
    for control, value in ((slider, 0), (choice, "air")):
        control.value = value
        pictures.add(picture.value)
    assert len(pictures) == 3
    assert not plt.get_fignums()


def test_cleaned_slices_and_surfaces_show_no_support_and_a_pipeline_its_steps(shell):
    series, support = shell
    panels = scans.draw_pipeline(series, support.mask.astype(np.float16), support).axes[:6]
    cleaned = np.where(support.mask, -1000, series.hu)
    for i, shown in {0: series.stored, 1: series.hu, 2: support.mask, 4: cleaned}.items():
        assert any(np.array_equal(panels[i].images[0].get_array(), one) for one in shown)
    (axis,) = scans.draw_cleaned(series, {"one": support.mask}, [18, 20]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["before", "one", "after"]
    grid = np.array(axis.images[0].get_array())
    before, marked, after = np.split(grid[:, : grid.shape[1] // 3 * 3], 3, axis=1)
    assert np.ptp(marked, axis=2).any()
    assert not np.ptp(after, axis=2).any()
    assert (after[..., 0] == 0).sum() > (before[..., 0] == 0).sum()
    air = series_from_array(np.full((2, 40, 40), -1000), (5, 3, 3))
    (axis,) = scans.draw_cleaned(air, {"one": air.hu > 0}, [0, 1]).axes
    assert axis.images[0].get_array().shape == (2 * 44, 3 * 44, 3)
    axes = scans.draw_surface(series, support.mask, (0.0, 180.0)).axes
    coloured = [(np.ptp(axis.images[0].get_array(), axis=2) > 0.1).mean() for axis in axes]
    assert coloured[1] > coloured[0] > 0  # the plate is behind the ball, and before it at 180
    assert coloured[2:] == [0, 0]


def test_components_have_colours_by_class_and_by_truth():
    hu = np.full((128, 128), -1000.0)
    hu[20:100, 24:104], hu[108:112, 10:118] = 40, 120  # a head, and a shell behind it
    axis = draw_clusters(hu, (2.0, 2.0)).axes[2]
    assert axis.get_title() == "2 components"
    head, shell = (axis.images[0].get_array()[row, 60] for row in (60, 110))
    assert (head.argmax(), shell.argmax()) == (2, 0)  # blue, orange
    found = measure_components([synthesize(101, matrix=128, slices=3)])
    assert found["truth"][found["area_mm2"].argmax()] != "support"
    figure = draw_components(found)
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == len(found["truth"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of three epochs, in which the found plate moves onto the true one."""
    run = tmp_path_factory.mktemp("run")
    labels = np.zeros((10, 64, 64), np.uint8)
    labels[:, 48:52, 8:56] = 1
    frames.keep_slices(run, np.random.default_rng(0).integers(-1000, 200, labels.shape), labels)
    for epoch in (1, 2, 3):
        found = np.roll(labels, 2 * (3 - epoch), 1) * 0.9
        frames.keep_epoch(run, found, epoch, 1 / epoch, 0.3 * epoch)
    return run


@pytest.mark.slow
def test_mp4_has_one_h264_frame_per_epoch(kept, tmp_path):
    path = tmp_path / "epochs.mp4"
    assert write_video(kept, path, fps=2) == 3
    about, *pictures = imageio_ffmpeg.read_frames(str(path))
    assert (about["codec"], about["pix_fmt"][:7], about["size"]) == ("h264", "yuv420p", FRAME_SIZE)
    for picture, wanted in zip(pictures, compose(frames.read_frames(kept)), strict=True):
        shown = np.frombuffer(picture, np.uint8).reshape(wanted.shape)
        assert abs(shown.astype(int) - wanted).mean() < 6
    assert path.read_bytes().find(b"moov") < path.read_bytes().find(b"mdat")


def test_colours_show_found_missed_and_false_pixels_also_in_animations(kept, tmp_path):
    first, *_, last = compose(frames.read_frames(kept))

    def shows(picture, name):
        off = picture[64:1064, :1240].astype(int) - ImageColor.getrgb(LEGEND[name])
        return (abs(off).max(2) < 60).sum()

    assert min(shows(first, "missed"), shows(first, "false")) > 1000
    assert shows(last, "found") > shows(first, "found")
    assert shows(last, "missed") == shows(last, "false") == 0
    for name in ("epochs.webp", "epochs.gif"):
        write_video(kept, tmp_path / name)
        with Image.open(tmp_path / name) as animation:
            assert (animation.n_frames, animation.size) == (3, (960, 540))


def test_chosen_slices_show_a_support_and_are_spread_living_heads_first():
    labels = np.zeros((40, 4, 4))
    labels[10:] = 1
    chosen = frames.choose_slices(np.arange(40), labels, labels)
    assert (len(chosen), chosen[0], chosen[-1]) == (10, 10, 39)
    assert list(frames.choose_slices(np.arange(4), labels, labels)) == [0, 1, 2, 3]
    hu = np.full(labels.shape, 1000)  # plastic
    hu[25:, :3] = 40  # brain
    living = frames.choose_slices(np.arange(40), labels, hu) >= 25
    assert living.tolist() == [True] * 5 + [False] * 5


def test_errors_name_a_missing_encoder_names_and_places(kept, tmp_path, capsys, monkeypatch):
    run, path = tmp_path / "run", tmp_path / "epochs.mp4"
    refused("mp4", write_video, kept, tmp_path / "epochs.avi")
    refused("train into", write_video, tmp_path, path)
    a_file = next(path for path in kept.rglob("*") if path.is_file())
    refused("written", write_video, kept, a_file / "epochs.mp4")
    shutil.copytree(kept, run)
    (run / "frames" / "epoch_0002.npz").write_bytes(b"PK")
    assert main(["video", str(run), str(path)]) == 1
    assert "epoch_0002" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [run]
    frames.keep_slices(tmp_path, np.zeros((1, 40, 40)), np.zeros((1, 40, 40)))
    for epoch, loss in ((0, np.nan), (1, 0.5)):  # one slice, and an untrained network
        frames.keep_epoch(tmp_path, np.zeros((1, 40, 40)), epoch, loss, 0.1)
    assert main(["video", str(tmp_path), str(path)]) == 0
    assert "2 frames" in capsys.readouterr().out
    hide(monkeypatch, "imageio_ffmpeg")
    refused("pip install imageio_ffmpeg", write_video, kept, path)
