"""Episodes of a policy on a cache, with all that it could have done instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...agents import Agent, LearnedAgent, RandomAgent, keep_probabilities
from ...envs import (
    Counterfactuals,
    EpisodeRecord,
    FocusEngine,
    FocusVectorEnv,
    regret,
    render_record,
)
from ...recognizer import FrameCost, Policy
from ..evaluation.trained import Trained, find_trained, policy_folder
from .contract import outcome_facts, rounded
from .gaze import Decided
from .price import Price

_CHUNK = 64  # videos at a time: memory does not grow with B
RANDOM = "random patches"


@dataclass(frozen=True, eq=False)
class Looker:
    """Who looks: a learned policy, or random patches on what one was trained on.

    Attributes:
        name: What the pages call it: ``AdaFocus``, ``AdaFocus+`` with π′, or `RANDOM`.
        trained: The learned policy, and the cache and f_C that it is played on.
        random_seed: Of random patches, which then replace the learned policy; None for it.
        price: What a look costs in the reward of π′, where there is one.
    """

    name: str
    trained: Trained
    random_seed: int | None = None
    price: Price = field(default_factory=Price)

    @classmethod
    def find(
        cls,
        path: Path,
        cache: Path | None,
        classifier: Path | None,
        videos_root: Path | None = None,
        device: str = "cpu",
    ) -> Looker:
        """Open a trained policy; see `find_trained` for what it takes and raises."""
        trained = find_trained(path, cache, classifier, videos_root, device)
        price = Price.of_bundle(policy_folder(path))
        name = "AdaFocus" if trained.policy.keep is None else "AdaFocus+"
        return cls(name, trained, price=price)

    @cached_property
    def labels(self) -> str:
        """What the confidence is, as the environment's keyword: a mean where labels are several."""
        several = self.trained.cache.videos["labels"].str.contains(";").any()
        return "mean" if several else "first"

    @cached_property
    def engine(self) -> FocusEngine:
        """Plays episodes on the cache."""
        return FocusEngine(self.trained.engine.source, self.labels)

    @property
    def policy(self) -> Policy | None:
        """The network; None for random patches."""
        return self.trained.policy if self.random_seed is None else None

    @property
    def agent(self) -> Agent:
        """Who decides."""
        if self.random_seed is not None:
            return RandomAgent(self.random_seed)
        return LearnedAgent(self.trained.policy)

    @property
    def can_skip(self) -> bool:
        """Whether there is a π′."""
        return self.policy is not None and self.policy.keep is not None

    @property
    def cost(self) -> FrameCost:
        """GMACs of every network on a frame; π's are charged where it is run."""
        return self.trained.cost


@torch.no_grad()
def decide(looker: Looker, videos: NDArray[np.int64]) -> Decided:
    """Return what is decided in cached videos ``(B,)``: what the looker's agent does, and why."""
    cache, policy = looker.trained.cache, looker.policy
    shape = (len(videos), cache.steps, cache.n_options)
    if policy is None:
        plan = looker.agent.plan(looker.trained.engine, videos)
        even = np.full(shape, 1 / cache.n_options, dtype=np.float32)
        return Decided(plan.options, plan.attended, even, None, cache.boxes_px)
    probabilities = np.empty(shape, dtype=np.float32)
    for start in range(0, len(videos), _CHUNK):
        rows = slice(start, start + _CHUNK)
        logits = policy(cache.stored_glance_maps(videos[rows]))
        probabilities[rows] = logits.softmax(dim=-1).cpu().numpy()
    options = probabilities.argmax(axis=-1)
    keep, threshold = None, policy.config.threshold
    attended = np.ones(shape[:2], dtype=bool)
    if threshold is not None:
        keep = keep_probabilities(policy, cache, videos)
        attended = (torch.from_numpy(keep) >= threshold).numpy()
    return Decided(options, attended, probabilities, keep, cache.boxes_px)


@dataclass(frozen=True, eq=False)
class Episode:
    """A video with a policy, decision by decision.

    Attributes:
        record: What the environment says of it.
        probabilities: ``(T, K)`` float32, π's.
        keep: ``(T,)`` float32, p^B of π′; None without one.
        alternatives: ``(T, K)`` float32, confidence that each option would have given, everything
            before being as it was.
        skip_alternatives: ``(T,)`` float32, that skip would have given.
        class_probabilities: ``(T, C)`` float32, f_C's after each decision.
        regrets: ``(T,)`` float32, confidence lost to the best of what could have been done.
        location_rewards: ``(T,)`` float64, r: what the reward design gives, where a frame is
            skipped for what looking would have given. The record's rewards are r + r′.
        skip_rewards: ``(T,)`` float64, r′ of Eq. 10; None without π′.
    """

    record: EpisodeRecord
    probabilities: NDArray[np.float32]
    keep: NDArray[np.float32] | None
    alternatives: NDArray[np.float32]
    skip_alternatives: NDArray[np.float32]
    class_probabilities: NDArray[np.float32]
    regrets: NDArray[np.float32]
    location_rewards: NDArray[np.float64]
    skip_rewards: NDArray[np.float64] | None

    @property
    def label(self) -> str:
        """Names of the true classes."""
        return self.record.label

    @property
    def attended(self) -> NDArray[np.bool_]:
        """``(T,)``: whether f_L ran."""
        return self.record.attended

    @property
    def boxes_px(self) -> NDArray[np.int64]:
        """``(T, 4)``: of the chosen options."""
        return self.record.boxes_px

    @property
    def correct(self) -> NDArray[np.bool_]:
        """``(T,)``: whether the prediction after each decision is right."""
        return self.record.correct

    @property
    def confidences(self) -> NDArray[np.float64]:
        """``(T,)``: on the true label, after each decision."""
        return self.record.confidences

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(T,)``: cost so far after each decision, GMACs."""
        return self.record.gmacs

    @property
    def unseen(self) -> Sequence[str]:
        """What to say where f_L did not run."""
        return ["skipped"] * len(self.attended)

    def seen(self, pixels: Tensor) -> Tensor:
        """Return the frames: a decision is about each of them in turn."""
        return pixels

    def pictures(self) -> NDArray[np.uint8]:
        """Draw every decision; see `render_record`."""
        return render_record(self.record)

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values, lists by decision.

        Besides what the attributes and `outcome_facts` say it has ``random``, the confidence that a
        random patch would have given instead, on average. In its ``alternatives`` skip is the last.

        Args:
            classes: Names of the C classes.
            labels: The true ones of the video.
        """
        return outcome_facts(self, classes, labels) | {
            "options": self.record.options.tolist(),
            "keep": None if self.keep is None else rounded(self.keep),
            "random": rounded(self.alternatives.mean(axis=1)),
            "rewards": rounded(self.record.rewards),
            "location_rewards": rounded(self.location_rewards),
            "skip_rewards": None if self.skip_rewards is None else rounded(self.skip_rewards),
            "regrets": rounded(self.regrets),
            "probabilities": rounded(self.probabilities),
            "alternatives": rounded(np.column_stack([self.alternatives, self.skip_alternatives])),
        }


@torch.no_grad()
def watch(
    looker: Looker,
    videos: NDArray[np.int64],
    decided: Decided,
    reward: str | Mapping[str, Any],
    seed: int,
) -> list[Episode]:
    """Play videos in the environment, and try all alternatives on the way.

    Args:
        looker: Who decided. With π′ the environment is ``AdaFocusPlus-v0``, whose reward has Eq. 10
            in it, with the looker's price; else ``AdaFocus-v0``.
        videos: ``(B,)`` different rows of the cache.
        decided: What the policy decided in these videos.
        reward: A reward design; see `make_design`.
        seed: Of the reward's draws, which are the same for every looker.

    Raises:
        ValueError: If the reward design does not work.
    """
    trained, engine = looker.trained, looker.engine
    env = FocusVectorEnv(
        len(videos),
        task="AdaFocusPlus" if looker.can_skip else "AdaFocus",
        autoreset_mode="Disabled",
        cache=trained.cache.root,
        classifier=trained.classifier,
        group=trained.cache.group.name,
        videos_root=trained.cache.videos_root,
        split=None,
        videos=videos.tolist(),
        order="listed",
        observation="index",
        seed=seed,
        reward=reward,
        labels=looker.labels,
        **(looker.price.keyword() if looker.can_skip else {}),
        policy_gmacs=looker.cost.policy_gmacs if looker.agent.runs_policy else 0.0,
        device=str(trained.cache.device),
    )
    env.reset()
    locations, skips = np.empty(decided.options.shape), np.zeros(decided.options.shape)
    steps = zip(decided.options.T, decided.attended.T, strict=True)
    for t, (options, attended) in enumerate(steps):
        action = np.stack([options, attended], axis=1) if looker.can_skip else options
        _, rewards, _, _, infos = env.step(action)
        locations[:, t] = infos.get("reward_location", rewards)
        skips[:, t] = infos.get("reward_skip", 0.0)
    parts = [slice(start, start + _CHUNK) for start in range(0, len(videos), _CHUNK)]
    plans = [(videos[rows], decided.options[rows], decided.attended[rows]) for rows in parts]
    logits = torch.cat([engine.rollout(*plan).cpu() for plan in plans])
    probabilities = logits.softmax(dim=-1).numpy()
    tried = [engine.rollout_counterfactuals(*plan) for plan in plans]
    alternatives = torch.cat([each.options for each in tried]).cpu()
    skip_alternatives = torch.cat([each.skip for each in tried]).cpu()
    lost = _lost(Counterfactuals(alternatives, skip_alternatives), decided, looker.can_skip)
    return [
        Episode(
            env.record(i),
            decided.probabilities[i],
            None if decided.keep is None else decided.keep[i],
            alternatives[i].numpy(),
            skip_alternatives[i].numpy(),
            probabilities[i],
            lost[i],
            locations[i],
            skips[i] if looker.can_skip else None,
        )
        for i in range(len(videos))
    ]


@torch.no_grad()
def summed_regrets(
    looker: Looker, videos: NDArray[np.int64], decided: Decided
) -> NDArray[np.float32]:
    """Return the confidence ``(B,)`` that the decisions of a video lost to the best ones, summed.

    The best of a step is the best option, or, with π′, the best of these and skip.
    """
    summed = []
    for start in range(0, len(videos), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(videos)))
        few = decided.rows(rows)
        tried = looker.engine.rollout_counterfactuals(videos[rows], few.options, few.attended)
        summed.append(_lost(tried, few, looker.can_skip).sum(axis=1))
    return np.concatenate(summed)


def _lost(tried: Counterfactuals, decided: Decided, can_skip: bool) -> NDArray[np.float32]:
    skip = tried.skip if can_skip else None
    lost = regret(tried.options, decided.options, decided.attended, skip)
    regrets: NDArray[np.float32] = lost.cpu().numpy()
    return regrets
