"""What the verb ``train`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ...agents.ppo.settings import PlusSettings, PPOSettings
from .devices import Device
from .own import OwnConfig

QUICKSTART = Path("outputs/quickstart")


@dataclass(frozen=True)
class PolicyTrainingConfig(PPOSettings):
    """How π, and π′, are built and trained.

    Attributes:
        conv_channels: Channels after the 1×1 convolution; an eighth of --hidden if not given, at
            most the paper's 64.
        hidden: Width of the linear layer and the GRU; as wide as f_C if not given.
        threads: Threads of torch; its own number if not given. One is fastest for small networks.
    """

    conv_channels: int | None = None
    hidden: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class SkipConfig(PlusSettings):
    """AdaFocus+: a second network π′ that decides whether to look at all.

    Attributes:
        plus: Train π′ beside π, AdaFocus+. 'focusgym compare' does so besides, with the first of
            the reward designs, and measures it at each of --keep-ratios.
        keep_from: Share of the training after which π′ joins; 0.5 if not given, or 0.2 with
            a target.
        penalty_per_px2: λ of Eq. 10: price of a look per pixel of the patch; the paper's 1e-6 if
            no price is given.
        penalty_per_gmac: Instead of --penalty-per-px2, the price of a look per GMAC of f_L.
        keep_ratio: η, the share of training frames that are kept: it gives ρ after the training.
        target_gmacs: Instead of --keep-ratio, the cost of a video, GMACs: the price is adapted to
            it, and gives ρ.
        penalty_rate: How fast the price is adapted to --target-gmacs.
    """

    plus: bool = False
    penalty_per_px2: float | None = None
    penalty_per_gmac: float | None = None
    keep_ratio: float = 0.5


@dataclass(frozen=True)
class SystemConfig:
    """Another published method than AdaFocus: options above that are of π and π′ are then refused.

    Attributes:
        system: Train this method instead, or measure it, if it does not learn: one of the list of
            focusgym systems, or module:attribute of your own.
        setting: What it trades accuracy for cost with: a price, in units of confidence, of a video
            that is read in full; a share of the segments; or β of the gates. The recipe's middle
            one if not given.
        price_per_gmac: Instead of --setting, the price of a GMAC.
    """

    system: str | None = None
    setting: float | None = None
    price_per_gmac: float | None = None


@dataclass(frozen=True)
class LearnerConfig:
    """How systems learn: as their recipes say, most with Stable-Baselines3.

    Attributes:
        decisions: How many decisions are made in a training; the recipe's 200,000 if not given.
        learner: Settings of the algorithm that are others than the recipe's, as a mapping,
            such as '{n_envs: 8, learning_rate: 3.0e-4}'. Another algorithm has none of the
            recipe's settings but these. Of adafocus_v2 and adafocus_v3: conv_channels, hidden,
            epochs, batch_size and lr; of lite_eval_gates and scsampler all of these but the first;
            of listentolook key_channels in place of the first.
    """

    decisions: int | None = None
    learner: str | None = None


@dataclass(frozen=True)
class TrainConfig(OwnConfig):
    """Train a policy on a feature cache, and measure it on the test videos.

    That of AdaFocus, with PPO (stage II); or with --system that of another published method.

    Attributes:
        out: Folder of the run: settings, logs, checkpoint, policy bundle, results.json.
        policy: How the policy is built and trained.
        skip: Whether the policy also skips frames, and how that is trained.
        cache: The feature cache.
        classifier: Bundle of f_C, trained on it; 'classifier' beside the cache if not given.
        group: The cache's option group, such as p128_7x7, where it has several. A system reads
            whole frames, those of AdaFocusV2, V3 and AdaFocus-TSM read patches: if not given, the
            dearest group of them, or all where it chooses among sides.
        reward: A reward design: increment_over_random (Eq. 7), increments, confidence, padding, or
            your own as module:attribute; with parameters as a mapping, such as '{name:
            increment_over_random, draws: null}'.
        seed: Seed of weights, episodes, actions and minibatches.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        resume: Go on with a run that was interrupted; its settings need not be given again. An
            off-policy algorithm, such as SAC of adafocus_v2_sac, keeps no checkpoint, for its
            replay buffer is none of the run's files: its training begins again.
        preset: Options by name, or from a YAML file: activitynet, fcvid, mini_kinetics (the
            paper's), digits, clips, clips_sharp, and the names of systems. A name that is none
            lists them all. What the command line says counts more.
        json: Print results.json instead of a table.
        method: Which method is trained, if not AdaFocus.
        learning: How that method learns.
    """

    out: Positional[Path]
    policy: PolicyTrainingConfig
    skip: SkipConfig
    cache: Path = QUICKSTART / "cache"
    classifier: Path | None = None
    group: tuple[str, ...] = ()
    reward: str = "increment_over_random"
    seed: int = 0
    device: Device = "cpu"
    resume: bool = False
    preset: str | None = None
    json: bool = False
    method: SystemConfig = SystemConfig()
    learning: LearnerConfig = LearnerConfig()
