"""The kinds of classifiers, by name."""

from __future__ import annotations

from ..registry import find_class
from .base import Classifier
from .config import ClassifierConfig

CLASSIFIERS: dict[str, str] = {
    "gru": "focusgym.recognizer.classifiers.gru:GruClassifier",
    "average": "focusgym.recognizer.classifiers.average:AverageClassifier",
    "average_logits": "focusgym.recognizer.classifiers.average_logits:AverageLogitsClassifier",
    "max_pool": "focusgym.recognizer.classifiers.max_pool:MaxPoolClassifier",
}


def build_classifier(config: ClassifierConfig, *, trusted: bool = True) -> Classifier:
    """Build the classifier that a config describes, with random weights.

    Args:
        config: Which kind, and its sizes.
        trusted: Whether the module of a class of your own may be imported; see `find`.

    Raises:
        ValueError: If there is no such kind, or it is no `Classifier`.
    """
    base: type[Classifier] = Classifier  # type: ignore[type-abstract]
    kind = find_class("aggregation", config.aggregation, CLASSIFIERS, base, trusted=trusted)
    return kind(config)
