"""The video of stored epochs."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageColor

from headrest import HeadrestError
from headrest.__main__ import main
from headrest.show.video import FRAME_SIZE, LEGEND, compose, write_video
from headrest.train import checkpoints as frames

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
EPOCHS = 3


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    labels = np.zeros((10, 64, 64), np.uint8)
    labels[:, 48:52, 8:56] = 1
    frames.keep_slices(run, rng.integers(-1000, 200, labels.shape), labels)
    for epoch in range(1, EPOCHS + 1):
        found = np.roll(labels, 2 * (EPOCHS - epoch), 1) * 0.9
        frames.keep_epoch(run, found, epoch, 1 / epoch, 0.3 * epoch)
    return run


@pytest.mark.slow
def test_mp4_has_one_h264_frame_per_epoch(kept, tmp_path):
    path = tmp_path / "epochs.mp4"
    assert write_video(kept, path, fps=2) == EPOCHS
    assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == EPOCHS
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p")
    assert about["size"] == FRAME_SIZE
    wanted = list(compose(frames.read_frames(kept)))
    for picture, want in zip(reader, wanted):
        shown = np.frombuffer(picture, np.uint8).reshape(want.shape)
        assert abs(shown.astype(int) - want).mean() < 6
    assert path.read_bytes().find(b"moov") < path.read_bytes().find(b"mdat")


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_animation_has_one_small_frame_per_epoch(kept, tmp_path, suffix):
    path = tmp_path / f"epochs.{suffix}"
    write_video(kept, path)
    with Image.open(path) as animation:
        assert animation.n_frames == EPOCHS
        assert animation.size == (960, 540)


def test_colours_show_found_missed_and_extra_pixels(kept):
    first, *_, last = compose(frames.read_frames(kept))

    def shows(picture, name):
        color = ImageColor.getrgb(LEGEND[name])
        left = picture[64:1064, :1240]
        return (abs(left.astype(int) - color).max(2) < 60).sum()

    assert shows(first, "missed") > 1000
    assert shows(first, "extra") > 1000
    assert shows(last, "found") > shows(first, "found")
    assert shows(last, "missed") == shows(last, "extra") == 0


def test_chosen_slices_show_a_support_and_are_spread_living_heads_first():
    labels = np.zeros((40, 4, 4))
    labels[10:40] = 1
    chosen = frames.choose_slices(np.arange(40), labels, labels)
    assert len(chosen) == 10
    assert chosen[0] == 10
    assert chosen[-1] == 39
    assert list(frames.choose_slices(np.arange(4), labels, labels)) == [0, 1, 2, 3]
    hu = np.full(labels.shape, 1000)  # plastic
    hu[25:, :3] = 40  # brain
    living = frames.choose_slices(np.arange(40), labels, hu) >= 25
    assert living.tolist() == [True] * 5 + [False] * 5


def test_one_slice_and_an_untrained_network_without_loss(tmp_path, capsys):
    run = tmp_path / "run"
    frames.keep_slices(run, np.zeros((1, 40, 40)), np.zeros((1, 40, 40)))
    for epoch, loss in ((0, np.nan), (1, 0.5)):
        frames.keep_epoch(run, np.zeros((1, 40, 40)), epoch, loss, 0.1)
    assert main(["video", str(run), str(tmp_path / "one.mp4")]) == 0
    assert "2 epochs" in capsys.readouterr().out


def test_error_names_the_missing_encoder(kept, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    missing = lambda name: None if name == "imageio_ffmpeg" else find(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(HeadrestError, match="pip install imageio_ffmpeg"):
        write_video(kept, tmp_path / "epochs.mp4")


def test_refuses_wrong_names_runs_and_places(kept, tmp_path, capsys):
    with pytest.raises(HeadrestError, match="mp4"):
        write_video(kept, tmp_path / "epochs.avi")
    with pytest.raises(HeadrestError, match="train into"):
        write_video(tmp_path, tmp_path / "epochs.mp4")
    with pytest.raises(HeadrestError, match="written"):
        write_video(kept, tmp_path / "no" / "folder.mp4")
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    (run / "frames" / "epoch_0002.npz").write_bytes(b"PK")
    with pytest.raises(HeadrestError, match="epoch_0002"):
        write_video(run, tmp_path / "epochs.mp4")
    assert main(["video", str(run), str(tmp_path / "epochs.mp4")]) == 1
    assert "epoch_0002" in capsys.readouterr().err
    assert json.dumps([p.name for p in tmp_path.iterdir()]) == '["run"]'
