"""Choosing weights by what they do on videos that are not trained on."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback

from ..envs import FeatureSource, FocusEngine
from ..recognizer import confidence
from .learned import policy_plan
from .ppo.focus_ppo import FocusPPO


class Validation(BaseCallback):
    """Scores π between rollouts, and keeps the best weights in the model.

    The score is the mean confidence on the true label, over videos and steps, of looking where π
    finds it most probable.
    """

    def __init__(self, source: FeatureSource, split: str = "val", every: int = 10) -> None:
        """Score on a split.

        Args:
            source: Cache and classifier.
            split: Split of the cache whose videos are played.
            every: Rollouts between two scores; the last one is scored too.

        Raises:
            CacheError: If there is no such split.
        """
        super().__init__()
        self._engine = FocusEngine(source)
        self._videos = source.cache.split(split)
        self._every = every

    def _on_rollout_start(self) -> None:
        assert isinstance(self.model, FocusPPO)
        if self.model.n_rollouts and self.model.n_rollouts % self._every == 0:
            self._score(self.model)

    def _on_training_end(self) -> None:
        assert isinstance(self.model, FocusPPO)
        self._score(self.model)

    def _on_step(self) -> bool:
        return True

    def _score(self, model: FocusPPO) -> None:
        cache = self._engine.cache
        plan = policy_plan(model.network(0.0).to(cache.device), cache, self._videos)
        logits = self._engine.rollout(self._videos, plan.options, plan.attended)
        score = float(confidence(logits, cache.labels[self._videos].to(logits.device)).mean())
        self.logger.record("validation/score", score)
        if model.best_score is None or score > model.best_score:
            model.best_score = score
            weights = model.policy.state_dict()
            model.best_weights = {name: value.clone() for name, value in weights.items()}
        self.logger.record("validation/best_score", model.best_score)
