"""What the verb ``compare`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ...recognizer.classifiers.config import ClassifierConfig
from ...recognizer.stages.config import Optimizer
from .devices import Device
from .executor import ExecutorConfig
from .own import OwnConfig
from .train import QUICKSTART, LearnerConfig, PolicyTrainingConfig, SkipConfig

DESIGNS = (
    "increment_over_random",
    "{name: increment_over_random, draws: null}",
    "increments",
    "confidence",
    "padding",
)


@dataclass(frozen=True)
class ClassifierFitConfig:
    """How f_C is trained for each patch size (stage I on the cache).

    Attributes:
        fit_epochs: Passes over the training videos.
        fit_batch_size: Videos per step.
        fit_optimizer: sgd with a cosine schedule, or adamw with one cycle.
        fit_lr: Learning rate for batches of 64.
        fit_hidden: H of the GRU; if not given, the power of two that the features of a frame fit
            into, at most the paper's 1024.
        fit_dropout: Dropout before f_C's output layer, in [0, 1).
        fit_skip_rate: Share of the frames that are skipped at random, so that f_C knows what a zero
            local vector means.
        fit_reuse_glance: Whether f_C reads ē^G too; not in the paper's Table 5.
    """

    fit_epochs: int = 50
    fit_batch_size: int = 64
    fit_optimizer: Optimizer = "sgd"
    fit_lr: float = 0.05
    fit_hidden: int | None = None
    fit_dropout: float = ClassifierConfig.dropout
    fit_skip_rate: float = 0.25
    fit_reuse_glance: bool = ClassifierConfig.reuse_glance


@dataclass(frozen=True)
class CompareConfig(OwnConfig):
    """Compare reward designs, patch sizes and seeds (the paper's Table 5); or runs that are there.

    Attributes:
        out: Folder of the comparison. Called again with more seeds, designs or sizes it trains
            what is missing.
        policy: How the policies are trained.
        skip: For AdaFocus+, the curve over η; --no-plus leaves it out.
        classifier: How f_C is trained.
        runs: Compare these runs of 'focusgym train' instead of training any.
        cache: The feature cache.
        patch: Patch sides P, pixels; all option groups of the cache if not given. What the cache
            lacks is encoded into the folder of the comparison, with the f_L of its first group.
        reward: Reward designs, as those of 'focusgym train'; none with --systems or --end-to-end
            compares these alone.
        reference: The design that the others are compared with; the first one if not given.
        seeds: Number of seeds of f_C, policies, episodes and draws: 0, 1, and so on.
        variants: Rows of the first design besides: no_glance (Table 4), with an f_C that does not
            read ē^G, and fixed policies beside it; stage_three, with an f_C that is fine-tuned on
            the policy's patches, and its control, fine-tuned as long on random patches.
        oracle: Set the greedy oracle beside, a bound: it knows the label and tries all options.
        keep_ratios: η of the AdaFocus+ curve: shares of the training frames to keep.
        jobs: Trainings at a time; if not given one per core, or one on a GPU of this machine.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        videos_root: For --patch and --end-to-end: folder of the videos, where they are no longer
            where the cache, or the run, looks for them: the one that --videos named.
        preset: Options by name, or from a YAML file, as of 'focusgym train'.
        json: Print the summary as one JSON object instead of a table.
        systems: Other published methods beside, of those that 'focusgym systems' lists, or
            module:attribute of your own; all takes every one that the cache serves, and adafocus
            is the reward designs. Each is trained at all settings of its recipe, on whole frames or
            patches that the cache has to hold. With every f_C, what does the same in all videos is
            measured too: static rows.
        clips_cache: For systems of encoders that shift along frames: a cache of the same videos in
            which a segment has several frames. They read --cache if not given.
        learning: How the systems learn.
        time: Also measure how many milliseconds a video takes, the median over so many test videos:
            of processor time on one thread, from decoded frames to the prediction, with the first
            seed of each design, η and system.
        end_to_end: Set these runs of 'focusgym fit' end-to-end, cubes or afnet beside, measured on
            their video files: the same test videos as those of the others.
        where: Where the trainings are done.
    """

    out: Positional[Path]
    policy: PolicyTrainingConfig
    skip: SkipConfig
    classifier: ClassifierFitConfig
    runs: tuple[Path, ...] = ()
    cache: Path = QUICKSTART / "cache"
    patch: tuple[int, ...] = ()
    reward: tuple[str, ...] = DESIGNS
    reference: str | None = None
    seeds: int = 5
    variants: tuple[Literal["no_glance", "stage_three"], ...] = ()
    oracle: bool = False
    keep_ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    jobs: int | None = None
    device: Device = "cpu"
    videos_root: Path | None = None
    preset: str | None = None
    json: bool = False
    systems: tuple[str, ...] = ()
    clips_cache: Path | None = None
    learning: LearnerConfig = field(default_factory=LearnerConfig)
    time: int = 0
    end_to_end: tuple[Path, ...] = ()
    where: ExecutorConfig = field(default_factory=ExecutorConfig)
