"""A system on a cache: its environments and its model made, trained and played."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from tqdm import tqdm

from ...envs import FeatureSource, FocusVecEnv, make_sb3
from ...envs.tasks.registry import env_id
from ...feature_cache import fingerprint
from ...recognizer import count_gmacs
from ...recognizer.registry import find
from ..checkpoints.on_policy import OnPolicyCheckpoints, load_on_policy
from ..training_log import TrainingLog
from .algorithms import find_algorithm
from .learned_system import LearnedSystem, Learner, Table


@dataclass(frozen=True, eq=False)
class SystemModel:
    """A learned system at a setting, on a cache.

    Attributes:
        env_id: Id of its environments.
        keywords: Of them; with these `play_task` plays it.
        learner: Who learns, with all settings.
        model: Of Stable-Baselines3, with environments on the training split.
        total: Decisions of the training, whole rollouts where the algorithm has rollouts.
    """

    env_id: str
    keywords: Mapping[str, Any]
    learner: Learner
    model: BaseAlgorithm
    total: int


def table_of(source: FeatureSource) -> Table:
    """Return what of a cache and a classifier a system's keywords depend on."""
    cost, steps = source.frame_cost, source.cache.steps
    frame = cost.glance_gmacs + cost.local_gmacs + cost.classifier_gmacs
    return Table(steps, steps * frame)


def make_system(
    system: LearnedSystem,
    files: Mapping[str, Any],
    keywords: Mapping[str, Any],
    steps: int,
    seed: int,
    device: str = "cpu",
) -> SystemModel:
    """Make the environments and the model of a training; write nothing.

    The environments charge what the model spends on a decision.

    Args:
        system: The recipe, with the learner that is wanted.
        files: Keywords ``cache``, ``classifier`` and ``group`` of its environments.
        keywords: The others, of `LearnedSystem.environment`.
        steps: T.
        seed: Of weights, episodes, actions and minibatches.
        device: Where environments and networks compute.

    Raises:
        ValueError: If settings do not go together, or are unknown.
        CacheError, BundleError: As `make_sb3`.
    """
    learner, name = system.learner, env_id(system.task)
    env_keywords = {"observation": "state", **files, **keywords, "seed": seed, "device": device}
    env = make_sb3(name, learner.n_envs, **env_keywords)
    algorithm = find_algorithm(learner.algorithm)
    rollouts = issubclass(algorithm, OnPolicyAlgorithm)
    if not rollouts and not issubclass(algorithm, OffPolicyAlgorithm):
        raise ValueError(
            "algorithm must be an on-policy or off-policy one of Stable-Baselines3's kind; got "
            f"{learner.algorithm!r}, which is {algorithm!r}"
        )
    settings = {**({"n_steps": 4 * steps} if rollouts else {}), **learner.keywords}
    on, policy = str(env.player.cache.device), _policy(learner.policy)
    for option, parameter in inspect.signature(algorithm).parameters.items():
        value, usual = settings.get(option, parameter.default), parameter.default
        if isinstance(usual, int | float) and isinstance(value, str):
            kind = "true or false" if isinstance(usual, bool) else "a number"
            raise ValueError(f"{learner.algorithm}: {option} must be {kind}; got {value!r}")
    try:
        model = algorithm(policy, env, seed=seed, device=on, **settings)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{learner.algorithm} takes no such settings: {error}") from error
    env_keywords["policy_gmacs"] = model_gmacs(model, env)
    env = make_sb3(name, learner.n_envs, **env_keywords)
    model.set_env(env)
    rollout = _rollout_steps(model, learner)
    return SystemModel(
        name, env_keywords, learner, model, -(-learner.decisions // rollout) * rollout
    )


def _rollout_steps(model: BaseAlgorithm, learner: Learner) -> int:
    """Return the decisions of a rollout; of an off-policy algorithm those of one step."""
    # Off-policy algorithms have no rollouts: their n_steps, if any, is another thing.
    return learner.n_envs * (model.n_steps if isinstance(model, OnPolicyAlgorithm) else 1)


def _policy(name: str) -> str | type[BasePolicy]:
    """Return a policy's name in Stable-Baselines3, or a class of your own."""
    if ":" not in name:
        return name
    policy = find("policy", name, {}, trusted=True)
    if not (isinstance(policy, type) and issubclass(policy, BasePolicy)):
        raise ValueError(
            "policy must be a class derived from Stable-Baselines3's BasePolicy; got "
            f"{name!r}, which is {policy!r}"
        )
    return policy


def model_gmacs(model: BaseAlgorithm, env: FocusVecEnv) -> float:
    """Return the GMACs of a decision of a model in environments of the kind that it is for."""
    space = env.observation_space
    observation = space.sample()
    return count_gmacs(lambda: model.predict(observation, deterministic=True))


def train_system(
    made: SystemModel,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_s: float = 60.0,
    logs: str | os.PathLike[str] | None = None,
    callbacks: Sequence[BaseCallback] = (),
) -> None:
    """Train the model of a system, or go on with a training that was interrupted.

    Args:
        made: By `make_system`.
        checkpoint: File for checkpoints: a training that was interrupted goes on from it; None
            keeps none. An off-policy algorithm has none either, and begins again.
        checkpoint_s: Least time between two, seconds; 0 writes before each rollout.
        logs: Folder for Stable-Baselines3's ``progress.csv`` and TensorBoard's events, see
            `TrainingLog`; an off-policy algorithm has a row per hundred episodes and at the end.
            None writes none.
        callbacks: Further callbacks of Stable-Baselines3.

    Raises:
        CheckpointError: If the checkpoint is damaged or of another training, or cannot be
            written.
    """
    model = made.model
    progress = _Progress(made.total)
    every: list[BaseCallback] = [progress, *callbacks]
    if checkpoint is not None and isinstance(model, OnPolicyAlgorithm):
        identity = training_identity(made)
        if Path(checkpoint).exists():
            load_on_policy(checkpoint, model, identity)
        every.insert(0, OnPolicyCheckpoints(checkpoint, checkpoint_s, identity))
    if logs is not None:
        model.set_logger(TrainingLog(logs, _rollout_steps(model, made.learner), made.total))
    try:
        left = made.total - model.num_timesteps
        interval = 1 if isinstance(model, OnPolicyAlgorithm) else 100  # in rollouts, in episodes
        model.learn(left, every, log_interval=interval, reset_num_timesteps=False)
    finally:
        progress.close()
        if logs is not None:
            model.logger.close()


def training_identity(made: SystemModel) -> str:
    """Return what tells a training from others in its checkpoints.

    Raises:
        ValueError: If the reward is a Python object, which cannot be stored.
    """
    env = made.model.env
    assert isinstance(env, FocusVecEnv)
    return fingerprint(
        {
            "env_id": made.env_id,
            "environments": env.player.description(),
            "learner": {**asdict(made.learner), "keywords": repr(dict(made.learner.keywords))},
            "seed": made.model.seed,
            "weights": {k: list(v.shape) for k, v in made.model.policy.state_dict().items()},
        }
    )


class _Progress(BaseCallback):
    """A progress bar over decisions; what the episodes that ended last came to, in the log."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._bar: tqdm[Any] | None = None

    def _on_training_start(self) -> None:
        done = self.model.num_timesteps
        self._bar = tqdm(total=self._total, initial=done, desc="system", unit="decision")

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if isinstance(self.model, OffPolicyAlgorithm):  # which logs every hundredth episode
            self.model.dump_logs()

    def _on_rollout_end(self) -> None:
        assert self._bar is not None
        infos = self.model.ep_info_buffer or ()
        for key in ("correct", "gmacs"):
            if ends := [float(info[key]) for info in infos]:
                self.logger.record(f"rollout/{key}", sum(ends) / len(ends))
        self._bar.update(self.model.num_timesteps - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
