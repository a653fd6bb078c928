"""Settings of a training run: for `train`, the command line and the model card."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Settings of a training run.

    Attributes
    ----------
    preset : str, network of `headrest.segment.unet.build_unet`.
    epochs : int
    slices_per_epoch : int or None, each training slice once if None.
    half_resolution_epochs : int
        First epochs, with four times as many slices of half the rows and columns (progressive
        resizing; M. Tan and Q. Le, arXiv:2104.00298).
    labels : str, training labels: "truth", "kmeans", or another name in the training set.
    loss : "dice" (cross entropy and Dice), or "cross-entropy" as in 2018.
    optimizer : "muon", "adam", or "sgd" as in 2018.
    learning_rate : float or None, the highest; the default of the optimizer if None.
    batch_size : int, slices per step.
    held_out : float, share of the patients held out for evaluation; or a list of their names.
    augment : bool
    seed : int, of the split, the initial weights, and the order and augmentation of slices.
    """

    preset: str = "standard"
    epochs: int = 10
    slices_per_epoch: int | None = None
    half_resolution_epochs: int = 0
    labels: str = "truth"
    loss: str = "dice"
    optimizer: str = "muon"
    learning_rate: float | None = None
    batch_size: int = 4
    held_out: float | list[str] = 0.2
    augment: bool = True
    seed: int = 0
