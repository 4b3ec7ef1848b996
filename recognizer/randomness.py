"""Every random number that is drawn: with NumPy by purpose, and torch's of first weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique

import numpy as np
import torch


@unique
class Purpose(IntEnum):
    """What random numbers are for. Two purposes never share a number.

    A new purpose gets a new value; the values of the others stay, or every result changes.
    """

    VIDEO_ORDER = 1
    """The order of videos in an epoch of episodes: (epoch)."""
    RANDOM_OPTIONS = 2
    """The random options that a reward compares with: (block of episodes)."""
    CHOSEN_EPISODE = 3
    """The same for an episode that is played out of turn: (environment, number)."""
    LOCATION_ACTIONS = 4
    """The actions of π: (rollout)."""
    KEEP_ACTIONS = 5
    """The actions of π′: (rollout)."""
    EPISODE_ORDER = 6
    """The order of a rollout's episodes in minibatches: (rollout, pass)."""
    SAMPLE_ORDER = 7
    """The order of samples in a stage of training: (`TrainingStage`, epoch)."""
    SAMPLE_DRAWS = 8
    """Where to look in a sample, and whether: (stage, epoch, sample)."""
    DROPOUT = 9
    """The mask of a sample: (stage, epoch, layer, sample)."""
    VIEW = 10
    """Frames, crop and flip of a copy of a video: (copy, eight words of the video's name)."""
    RANDOM_AGENT = 11
    """The options of `RandomAgent`: ()."""
    GAUSSIAN_AGENT = 12
    """The points of `GaussianAgent`: ()."""
    VERIFIED_VIDEOS = 13
    """The videos that `verify` encodes anew: ()."""
    RESAMPLING = 14
    """What a bootstrap draws: ()."""
    DIGIT_SCANS = 15
    """Which scans each split of the digits holds: ()."""
    DIGIT_VIDEO = 16
    """A video of the digits: (split, index)."""
    RANDOM_EXITS = 17
    """Which videos stop after which step in `random_exits`: ()."""
    FIXED_EXITS = 18
    """Which videos take one step more in `fixed_exits`: ()."""
    SEGMENT_ORDER = 19
    """The order in which f_C is fed a sample's segments: (stage, epoch, sample)."""
    DIGIT_PAIR_CLASSES = 20
    """The order of the classes in a block of videos of the pairs of digits: (split, block)."""
    DIGIT_PAIR_VIDEO = 21
    """A video of the pairs of digits: (split, index)."""
    DIGIT_DECOYS = 22
    """What looks like the digit of a video from afar: (split, index)."""
    VIDEO_FOLDS = 23
    """Which fold of a cross-validation each video is in: ()."""
    TRIALS = 24
    """What a search proposes: (number of the first trial)."""
    DIGIT_SIDE = 25
    """How large the digit of a video is: (split, index)."""


@unique
class TrainingStage(IntEnum):
    """The training that random numbers belong to: the first number of keys that have a stage.

    `Purpose` says which keys these are. No two trainings of a seed share their draws of order,
    places and dropout. A new stage gets a new number; those of the others stay, or every result
    changes. Numbers from `OWN_STAGES` on are left to trainings of your own.
    """

    QUICKSTART_PATCHES = 0
    QUICKSTART_CACHE = 1
    QUICKSTART_POLICY = 2
    QUICKSTART_VALIDATION = 3
    QUICKSTART_FULL_FRAMES = 4
    FULL_FRAMES = 10
    PATCHES = 11
    POLICY = 12
    VALIDATION = 13
    END_TO_END = 14
    CUBES = 15
    AFNET = 16
    FRAMEEXIT_GATES = 20
    CENTERS_ON_FEATURES = 21
    CUBES_ON_FEATURES = 22
    CLIPS_ON_FEATURES = 23
    LITE_EVAL_GATES = 24
    SCSAMPLER = 25
    LISTENTOLOOK = 26


OWN_STAGES = 1000
# Where places are drawn when a run is played on pixels. It is the number of FRAMEEXIT_GATES too,
# which draws the order of samples alone.
PLAYED_ON_PIXELS = 20


def generator(purpose: Purpose, seed: int, *key: int) -> np.random.Generator:
    """Return the generator of a purpose, of a seed and of a key.

    Purpose and key are a spawn key, which NumPy keeps apart from the seed. In a list of numbers
    as a seed it ignores zeros at the end, so that ``[0, 1]`` and ``[0, 1, 0]`` draw the same.

    Args:
        purpose: What the numbers are for.
        seed: At least 0, below 2**128.
        *key: What they belong to; numbers in [0, 2**32). Keys of a purpose have the same length,
            or differ in the numbers that they share.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *key)))


@contextmanager
def first_weights(seed: int) -> Iterator[None]:
    """Let networks that are built inside draw their first weights from a seed.

    PyTorch's layers draw from its global generator on the CPU, which is afterwards as it was.

    The seed is all that decides these draws: there is no purpose in it. Two blocks of one seed
    begin with the same numbers, so that networks of the same layers get equal weights, and others
    partly the same numbers before these are scaled. Networks that are to differ are built in one
    block, one after the other, or from different seeds. No draw of `generator` is among them.

    Args:
        seed: At least 0, below 2**64.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
