"""How fast policies are trained beside the matrix products of it, and how much memory they hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import ENV, N_ENVS, SIZES, W_HH, Row, in_turn
from rows import row
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from synthetic import GRID, SIDE, C, G, H, T, paper_sizes
from torch import Tensor, nn

from focusgym.agents import PRESETS, EpisodeBuffer, FocusPPO, GlanceGruExtractor
from focusgym.envs import make_sb3
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import torch_threads

PLUS = "focusgym/AdaFocusPlus-v0"
CONV, CELLS = 64, SIDE * SIDE  # channels of π's convolution; cells of a glance map
STEPS = N_ENVS * T  # of one iteration: an episode of every environment
REPEATS, RECURRENT_REPEATS = 9, 3
PEAK_ENVS = (N_ENVS, 2 * N_ENVS)
TRAINED = f"{SIZES}, Eq. 7 with one draw, π with {CONV} channels and H = 1024"


def rows(out: Path) -> dict[str, Row]:
    """Train at the paper's sizes on a synthetic cache, and a small policy on digits."""
    paths = paper_sizes(out / "paper_sizes")
    table: dict[str, Row] = {}
    for threads in (1, 2):
        with torch_threads(threads):
            table |= at_paper_sizes(paths, threads)
    table |= memory(paths)
    with torch_threads(1):  # on layers so small, waiting for a second one is what would be timed
        return {**table, **on_digits(out / "quickstart-0")}


def at_paper_sizes(paths: dict[str, str], threads: int) -> dict[str, Row]:
    """Time iterations in turn with those of RecurrentPPO, and with the products they need."""
    focus, plus = focus_ppo(ENV, paths), focus_ppo(PLUS, paths)
    bound, plus_bound = products([GRID.n_options], 2), products([GRID.n_options, 1], 3)
    both = {"recurrent": learner(recurrent_ppo(paths)), "focus": learner(focus)}
    beside = in_turn(both, RECURRENT_REPEATS)
    timed = {
        "focus": learner(focus),
        "bound": runner(bound),
        "plus": learner(plus),
        "plus bound": runner(plus_bound),
    }
    seconds = in_turn(timed, REPEATS)
    how = f"{TRAINED}, {threads} thread(s)"
    suffix = "" if threads == 1 else f"_{threads}_threads"

    def ratio(a: str, b: str, of: dict[str, list[float]]) -> list[float]:
        return [x / y for x, y in zip(of[a], of[b], strict=True)]

    return {
        f"focus_ppo_vs_recurrent_ppo{suffix}": row(
            ratio("recurrent", "focus", beside),
            "×",
            f"{how}; steps per second of FocusPPO, preset paper, over those of sb3-contrib's "
            "RecurrentPPO on the same environment behind the same convolution and linear layer, "
            "with LSTMs of 1024; whole iterations, n_steps 16 and one epoch for both, its other "
            "settings as shipped; few repetitions, its iterations are long; limit 10 or more",
        ),
        f"focus_ppo_vs_bound{suffix}": row(
            ratio("bound", "focus", seconds),
            "×",
            f"{how}; {bound_how(bound)}, over a whole iteration; 1 is the bound, limit 0.8 or more",
        ),
        f"focus_plus_vs_bound{suffix}": row(
            ratio("plus bound", "plus", seconds),
            "×",
            f"{how}; the same of AdaFocus+, π and π′ both training, skip among the alternatives; "
            f"{bound_how(plus_bound)}",
        ),
        f"focus_ppo_steps_per_second_per_core{suffix}": row(
            [STEPS / s / threads for s in seconds["focus"]], "1/s", f"{how}; whole iterations"
        ),
        f"focus_plus_steps_per_second_per_core{suffix}": row(
            [STEPS / s / threads for s in seconds["plus"]],
            "1/s",
            f"{how}; whole iterations of AdaFocus+, π and π′ both training",
        ),
    }


def focus_ppo(env_id: str, paths: dict[str, str], n_envs: int = N_ENVS) -> FocusPPO:
    """Make FocusPPO as the paper trains; of AdaFocus+, π′ from the start."""
    env = make_sb3(env_id, n_envs, **paths, observation="index")
    keywords = {**PRESETS["paper"].keywords(T), "keep_from": 0.0}
    return FocusPPO("GruPolicy", env, **keywords, seed=0, device="cpu")


class MapEncoder(BaseFeaturesExtractor):
    """π's convolution and linear layer, for an algorithm that brings its own recurrent network."""

    def __init__(self, observation_space: Any, cache: FeatureCache) -> None:
        """Build the layers."""
        super().__init__(observation_space, features_dim=H)
        self.cache = cache
        self.conv = nn.Linear(G, CONV, bias=False)
        self.linear = nn.Linear(CELLS * CONV, H)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return features ``(M, H)`` of M (video, step) pairs, each ``(M, 1)``."""
        videos, steps = (observations[name].long()[:, 0].numpy() for name in ("video", "t"))
        cells = self.conv(self.cache.glance_map(videos, steps)).relu()
        features: Tensor = self.linear(cells.flatten(1)).relu()
        return features


def recurrent_ppo(paths: dict[str, str]) -> RecurrentPPO:
    """Make sb3-contrib's RecurrentPPO: its settings, but for sizes, n_steps and n_epochs."""
    env = make_sb3(ENV, N_ENVS, **paths, observation="index")
    network = {
        "features_extractor_class": MapEncoder,
        "features_extractor_kwargs": {"cache": env.player.cache},
        "lstm_hidden_size": H,
        "net_arch": [],
    }
    return RecurrentPPO(
        "MultiInputLstmPolicy",
        env,
        n_steps=T,
        n_epochs=1,
        policy_kwargs=network,
        seed=0,
        device="cpu",
    )


def learner(model: BaseAlgorithm, iterations: int = 1) -> Callable[[], None]:
    """Return what trains for some iterations more."""
    n_steps: int = model.n_steps  # type: ignore[attr-defined]

    def run() -> None:
        model.learn(iterations * n_steps * model.n_envs, reset_num_timesteps=False)

    return run


# Two factors, where their product goes, and how often it is needed.
Product = tuple[Tensor, Tensor, Tensor, int]


def products(actors: list[int], branches: int) -> list[Product]:
    """Return the matrix products of an iteration: of each policy network, and of f_C.

    Args:
        actors: Outputs of each network's actor.
        branches: Alternatives of a step that f_C predicts.
    """
    maps = torch.randn(STEPS * CELLS, G)
    policy_products = [
        product
        for outputs in actors
        for product in (
            *layer(maps, CONV, input_gradient=False),
            *layer(torch.randn(STEPS, CELLS * CONV), H),
            *layer(torch.randn(STEPS, H), 3 * H),
            *recurrence(),
            *layer(torch.randn(STEPS, H), outputs + 1),
        )
    ]
    state, states = torch.randn(N_ENVS, H), torch.randn(N_ENVS * branches, H)
    w_hh, head = torch.randn(3 * H, H), torch.randn(C, H)
    f_c = [(state, w_hh.t()), (states, head.t())]
    return policy_products + [(a, b, torch.empty(len(a), b.shape[1]), T) for a, b in f_c]


def layer(x: Tensor, outputs: int, *, input_gradient: bool = True) -> list[Product]:
    """Return the products of a linear layer on inputs x, forward and backward."""
    weight, y = torch.randn(outputs, x.shape[1]), torch.empty(len(x), outputs)
    of_y = torch.randn_like(y)
    # The larger side first is what two threads divide better.
    left, right = (of_y, x) if outputs > x.shape[1] else (x, of_y)
    of_weight = (left.t(), right, torch.empty(left.shape[1], right.shape[1]), 1)
    forward = (x, weight.t(), y, 1)
    of_x = [(of_y, weight, torch.empty_like(x), 1)] if input_gradient else []
    return [forward, of_weight, *of_x]


def recurrence() -> list[Product]:
    """Return the products with W_hh, forward and backward: T for the states, one for its own."""
    forward, of_weight, backward = layer(torch.randn(STEPS, H), 3 * H)
    return [
        of_weight,
        *((a[:N_ENVS], b, to[:N_ENVS], T) for a, b, to, _ in (forward, backward)),
    ]


def runner(matrix_products: list[Product]) -> Callable[[], None]:
    """Return what does the products of an iteration, into memory that is there."""

    def run() -> None:
        for a, b, to, times in matrix_products:
            for _ in range(times):
                torch.mm(a, b, out=to)

    return run


def bound_how(matrix_products: list[Product]) -> str:
    """Say what the bound is."""
    gmacs = (
        sum(a.shape[0] * a.shape[1] * b.shape[1] * times for a, b, _, times in matrix_products)
        / 1e9
    )
    f_c = T * N_ENVS * W_HH / 1e9
    return (
        f"the float32 matrix products of an iteration alone, {gmacs:.1f} G multiply-adds: policy "
        "forward and backward (maps get no gradient, every step multiplies its state by W_hh, its "
        f"gradient is one product), f_C's W_hh·h ({f_c:.1f}) and heads"
    )


# The kernel's own mark: getrusage tells a child of a large process its parent's.
PEAK = """
import re, sys
import torch
sys.path[:0] = [sys.argv[1]]
from training import T, focus_ppo
torch.set_num_threads(1)
def held(mark):
    return int(re.search(rf"{mark}:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
env_id, cache, classifier, n_envs = sys.argv[2:]
model = focus_ppo(env_id, {"cache": cache, "classifier": classifier}, int(n_envs))
model.env.reset()
built = held("VmRSS")
model.learn(3 * T * int(n_envs))
print(built, held("VmHWM"), held("RssFile"), model.rollout_buffer.nbytes)
"""


def memory(paths: dict[str, str]) -> dict[str, Row]:
    """Train in processes of their own, with two numbers of episodes."""
    table = {}
    for name, env_id in (("focus_ppo", ENV), ("focus_plus", PLUS)):
        few, many = (
            np.array([trained_alone(env_id, paths, n) for _ in range(3)]) for n in PEAK_ENVS
        )
        how = f"{TRAINED}; a process of its own, 1 thread, 3 iterations of {env_id.split('/')[1]}"
        growth = 1024 * (many[:, 1] - few[:, 1]) / (PEAK_ENVS[1] - PEAK_ENVS[0])
        table |= {
            f"{name}_rollout_kb_per_episode": row(
                (few[:, 3] / N_ENVS / 1024).tolist(), "KiB", f"{how}; what stays of a rollout"
            ),
            f"{name}_peak_mb": row(
                few[:, 1].tolist(),
                "MiB",
                f"{how}; peak resident memory, {np.median(few[:, 0]):.0f} of it once all is built "
                "and the first episodes have begun, which fills f_C's table; "
                f"{np.median(few[:, 2]):.0f} are pages of files, the cache's among them",
            ),
            f"{name}_peak_kb_per_episode": row(
                growth.tolist(),
                "KiB",
                f"{how}; what the peak grows by for each episode of a rollout, from {PEAK_ENVS[0]} "
                f"to {PEAK_ENVS[1]} of the same videos: activations and their gradients, float32",
            ),
        }
    return table


def trained_alone(env_id: str, paths: dict[str, str], n_envs: int) -> list[float]:
    """Return MiB once built, at the peak and of files, and bytes of the rollout, in a child."""
    here = str(Path(__file__).parent)
    values = [here, env_id, paths["cache"], paths["classifier"], str(n_envs)]
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, *values], check=True, capture_output=True, text=True
    )
    return [float(value) for value in ran.stdout.split()]


def on_digits(run: Path) -> dict[str, Row]:
    """Train on the cache of the benchmark's first quickstart, in turn with SB3's own PPO."""
    config = replace(PRESETS["ppo"], conv_channels=16, hidden=128)
    kwargs = {"cache": run / "cache", "classifier": run / "classifier", "observation": "index"}

    def env() -> Any:
        return make_sb3(ENV, config.n_envs, **kwargs)

    cache: FeatureCache = env().player.cache
    keywords = config.keywords(cache.steps)
    focus = FocusPPO("GruPolicy", env(), **keywords, seed=0, device="cpu")
    ours = ("normalize_returns", "keep_from", "target_gmacs", "penalty_rate")
    stock = {name: value for name, value in keywords.items() if name not in ours}
    stock |= {
        "n_steps": cache.steps,
        "rollout_buffer_class": EpisodeBuffer,
        "policy_kwargs": {
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {"cache": cache, **keywords["policy_kwargs"]},
            "net_arch": [],
        },
    }
    sb3 = PPO("MultiInputPolicy", env(), **stock, seed=0, device="cpu")
    # An epoch at a time: the first, which does not count, fills f_C's table for both.
    iterations = -(-len(cache.split("train")) // config.n_envs)
    timed = {"focus": learner(focus, iterations), "sb3": learner(sb3, iterations)}
    seconds = in_turn(timed, REPEATS)
    steps = iterations * cache.steps * config.n_envs
    how = (
        f"embedded digits, T = {cache.steps}, {config.n_envs} environments, preset ppo with "
        f"{config.conv_channels} channels and {config.hidden} hidden units, rewards included, "
        f"{torch.get_num_threads()} thread(s); {iterations} iterations each"
    )
    ratios = [a / b for a, b in zip(seconds["sb3"], seconds["focus"], strict=True)]
    return {
        "focus_ppo_steps_per_second_digits": row([steps / s for s in seconds["focus"]], "1/s", how),
        "focus_ppo_vs_sb3_ppo_digits": row(
            ratios,
            "×",
            f"{how}; steps per second over those of stable-baselines3's PPO with the same GRU in "
            "its features extractor, whole episodes per minibatch and the same settings",
        ),
    }
