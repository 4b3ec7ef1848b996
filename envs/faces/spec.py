"""How environments are described to Gymnasium: what can be stored of them, and what cannot."""

from __future__ import annotations

from dataclasses import fields

from gymnasium.envs.registration import EnvSpec

from ..rewards.designs import stored_reward


class PythonRewardSpec(EnvSpec):
    """The spec of an environment whose reward is a Python object: all but storing it works."""

    def to_json(self) -> str:
        """Refuse, and say what could be stored.

        Raises:
            ValueError: If the reward is a Python object.
        """
        stored_reward(self.kwargs["reward"])
        return super().to_json()  # where another reward was put into the keywords


class WithSpec:
    """An environment whose spec stores what it was made of, or refuses.

    Gymnasium's own spec stores an object that is a dataclass as its values, without its name.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium made the environment of; None if it did not."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None and callable(spec.kwargs.get("reward")):
            values = {each.name: getattr(spec, each.name) for each in fields(spec) if each.init}
            spec = PythonRewardSpec(**values)
        self._spec = spec
