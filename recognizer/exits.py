"""Exits: when a video's prediction so far is good enough to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .exit_measures import MEASURES, Measure
from .files.typed import is_finite

# No score reaches it: confidences and margins are at most 1, negated entropies at most 0.
NEVER = 2.0


@dataclass(frozen=True)
class ExitRule:
    """After which step a video stops: the first whose score reaches the step's threshold.

    Attributes:
        measure: What the score is, see `exit_scores`.
        thresholds: T numbers, one per step. The T-th step stops whatever its score is, so that the
            last number has no effect. `NEVER` stops no video: a recognizer reads the frames up to
            the next step that may stop one together.

    Raises:
        ValueError: If the measure is unknown, or the thresholds are not finite numbers, one at
            least.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 7, which stops where the entropy is low enough;
        confidence and margin are usual alternatives.
    """

    measure: Measure
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the measure and the thresholds."""
        _check_measure(self.measure)
        numbers = self.thresholds
        if type(numbers) is not tuple or not numbers or not all(map(_is_finite, numbers)):
            raise ValueError(
                f"expected a finite threshold for each step, a tuple; got {numbers!r:.80}: give "
                f"{NEVER:g} where no video is to stop"
            )

    @classmethod
    def of(cls, content: object) -> ExitRule | None:
        """Return the rule that ``dataclasses.asdict`` and JSON have made plain; None for null.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If a value is wrong.
        """
        if content is None:
            return None
        if not isinstance(content, Mapping):
            raise ValueError(
                f"exits must be a measure and thresholds, or null; got {content!r:.80}"
            )
        thresholds = content.get("thresholds")
        known = tuple(thresholds) if isinstance(thresholds, list) else thresholds
        return cls(**{**content, "thresholds": known})

    @property
    def steps(self) -> int:
        """T: no video goes on after as many steps."""
        return len(self.thresholds)

    def stops(self, logits: Tensor, step: int | Tensor) -> Tensor:
        """Return which videos stop after a step.

        Args:
            logits: ``(B, C)`` after the step.
            step: Its index, from 0; or that of each video, ``(B,)`` int64.

        Returns:
            ``(B,)`` bool: all of them at the T-th step and later.
        """
        at = torch.as_tensor(step, device=logits.device).clamp(max=self.steps - 1)
        every = torch.tensor(self.thresholds, dtype=torch.float64, device=logits.device)
        return (exit_scores(logits, self.measure) >= every[at]) | (at == self.steps - 1)

    def until_exit(self, seen: int) -> int:
        """Return how many steps come up to the next one, included, after which a video may stop.

        Args:
            seen: Steps before.
        """
        possible = (t for t in range(seen, self.steps - 1) if self.thresholds[t] < NEVER)
        return next(possible, max(seen, self.steps - 1)) - seen + 1

    def exit_steps(self, logits: Tensor) -> Tensor:
        """Return the index ``(N,)`` of the step after which each video stops, of ``(N, T, C)``."""
        return exit_steps(exit_scores(logits, self.measure), self.thresholds)


def exit_scores(logits: Tensor, measure: Measure) -> Tensor:
    """Return how sure predictions are.

    Args:
        logits: ``(..., C)``.
        measure: ``confidence``, the largest softmax probability; ``entropy``, the negated entropy
            of the softmax in nats; ``margin``, the largest probability less the second largest.

    Returns:
        ``(...)`` float64: larger is surer. At most 1; 0 for the entropy.

    Raises:
        ValueError: If the measure is unknown.

    Source: AdaFocusV3 (arXiv:2209.13465) section 3.4. The released code of AdaFocusV2 calls the
        largest *logit* the confidence; ours is the probability, which does not change when a
        constant is added to all logits.
    """
    _check_measure(measure)
    # float64: probabilities near 1 would be equal in float32, and no threshold could part them.
    logs = logits.double().log_softmax(dim=-1)
    if measure == "confidence":
        return logs.amax(dim=-1).exp()
    probabilities = logs.exp()
    if measure == "entropy":
        # A probability that underflows to 0 adds 0, also where its logarithm is −∞.
        return (probabilities * logs.clamp(min=-1e9)).sum(dim=-1)
    if logits.shape[-1] == 1:
        return probabilities[..., 0]
    first, second = probabilities.topk(2, dim=-1).values.unbind(dim=-1)
    return first - second


def exit_steps(scores: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return after which step each video stops.

    Args:
        scores: ``(N, T)``, larger is surer.
        thresholds: T numbers; the last one has no effect.

    Returns:
        ``(N,)`` int64: the first step whose score reaches its threshold; T − 1 if none does.

    Raises:
        ValueError: If there are not T thresholds.
    """
    if scores.ndim != 2 or scores.shape[1] != len(thresholds):
        raise ValueError(
            f"expected scores (N, T) of T = {len(thresholds)} thresholds; got "
            f"{tuple(scores.shape)}: solve the rule for videos of as many steps"
        )
    reached = scores >= torch.as_tensor(thresholds, dtype=scores.dtype, device=scores.device)
    reached[:, -1] = True
    return reached.byte().argmax(dim=1)


def hold(values: Tensor, steps: Tensor) -> Tensor:
    """Return what is known after each step if videos stop: the values at the exit from then on.

    Args:
        values: ``(N, T, ...)``, such as logits after every step, or the cost so far.
        steps: ``(N,)`` int64, after which step each video stops.

    Returns:
        ``(N, T, ...)``.
    """
    every = torch.arange(values.shape[1], device=values.device)
    taken = torch.minimum(every, steps.to(values.device)[:, None])  # (N, T)
    return values[torch.arange(len(values), device=values.device)[:, None], taken]


def _check_measure(measure: str) -> None:
    if measure not in MEASURES:
        raise ValueError(f"the measure must be one of {', '.join(MEASURES)}; got {measure!r:.80}")


def _is_finite(number: object) -> bool:
    return type(number) in (int, float) and is_finite(number)
