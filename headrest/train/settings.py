"""Settings of a training run: for `train`, the command line and the model card."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Settings of a training run."""

    preset: str = "standard"  # network of headrest.segment.unet.build_unet
    epochs: int = 10
    slices_per_epoch: int | None = None  # None: each training slice once
    half_resolution_epochs: int = 0  # the first ones (progressive resizing, arXiv:2104.00298)
    labels: str = "truth"  # or "kmeans", or another name in the training set
    loss: str = "dice"  # Dice and cross entropy; or "cross-entropy" as in 2018
    optimizer: str = "muon"  # or "adam", or "sgd" as in 2018
    learning_rate: float | None = None  # the highest; None: default of the optimizer
    batch_size: int = 4
    held_out: float | list[str] = 0.2  # share of the patients held out for evaluation, or names
    augment: bool = True
    seed: int = 0  # of the split, the initial weights, the order and augmentation of slices
