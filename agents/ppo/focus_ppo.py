"""FocusPPO: Stable-Baselines3's PPO on whole episodes at once, for AdaFocus and AdaFocus+."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule, explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from ...feature_cache import CacheError, FeatureCache
from ...recognizer import PolicyNetwork, shortened
from .diagnostics import Watch, keep_use, option_use
from .dual import DualAscent
from .gru_policy import KEEP, LOCATION, GruPolicy, Learner
from .objective import Weights, log_probs_of, make_track, ppo_loss
from .rollout import (
    Columns,
    Heads,
    Rollout,
    allowed_options_of,
    check_step,
    checked_players,
    draw_actions,
    joint_actions,
    minibatches,
    stand_at,
    step_columns,
)
from .settings import PlusSettings, PPOSettings, check_settings

_LOGGED_AS = {LOCATION: "train", KEEP: "train_keep"}


class FocusPPO(PPO):
    """PPO that trains π, or π and π′ together, on whole episodes.

    The state of a policy depends on the frozen glance maps only, never on actions. So the networks
    run once over all frames of a rollout, all actions are drawn, and the environment plays them;
    the update goes through whole sequences. Where one update uses the whole rollout, it uses the
    same forward pass. Each rollout is one episode of every environment.

    π and π′ have networks, critics, returns, losses and optimizer states of their own: π learns
    from the design's reward, π′ from that of Eq. 10. Of AdaFocus+ both are read from the infos: a
    wrapper that changes rewards changes AdaFocus's training only.

    Every draw is keyed by (seed, rollout), so that neither the device nor an interruption changes
    it. ``learn``, ``predict``, callbacks, loggers, ``save`` and ``load`` are those of
    Stable-Baselines3; ``predict`` keeps a frame where p^B reaches 1/2, if it is deterministic.

    Attributes:
        n_rollouts: Rollouts so far.
        mean_returns: Mean return per episode of each of them.
        players: What plays the environments' episodes.
        best_score, best_weights: Of `Validation`, where it is used.

    Source: AdaFocus (arXiv:2105.03245) sections 3.2 and 3.3; PPO: Schulman et al.
        (arXiv:1707.06347). The budget (``target_gmacs``) is ours.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"GruPolicy": GruPolicy}

    def __init__(
        self,
        policy: str | type[GruPolicy],
        env: GymEnv | None,
        learning_rate: float | Schedule = PPOSettings.lr,
        *,
        batch_size: int | None = None,
        n_epochs: int = PPOSettings.update_epochs,
        gamma: float = PPOSettings.gamma,
        gae_lambda: float = PPOSettings.gae_lambda,
        clip_range: float | Schedule = PPOSettings.clip_range,
        normalize_advantage: bool = True,
        normalize_returns: bool = False,
        ent_coef: float = PPOSettings.ent_coef,
        vf_coef: float = PPOSettings.vf_coef,
        max_grad_norm: float = PPOSettings.max_grad_norm,
        keep_from: float = 0.5,
        target_gmacs: float | None = None,
        penalty_rate: float = PlusSettings.penalty_rate,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        """Set up the algorithm.

        Args:
            policy: ``GruPolicy``.
            env: Environments of focusgym with ``index`` observations: best `make_sb3`'s.
            learning_rate: Adam's, or a function of remaining progress.
            batch_size: Decisions per update, a multiple of T; None for the whole rollout.
            n_epochs: Passes over each rollout.
            gamma: Discount (0.7 in the paper).
            gae_lambda: λ of generalized advantage estimation.
            clip_range: PPO's ε.
            normalize_advantage: Whether advantages are normalised over each minibatch.
            normalize_returns: Whether returns are normalised over each rollout instead, as in the
                released code; wants ``gae_lambda=1``.
            ent_coef: Weight of the entropy bonus.
            vf_coef: Weight of the critic's loss.
            max_grad_norm: The gradient of each network is clipped to this norm; ``inf`` never.
            keep_from: Share of the training after which π′ joins; before, all frames are looked at.
            target_gmacs: Cost of an episode to which the price of a look is adapted, GMACs; None
                leaves the environment's penalty as it is. Let π′ join early: 0.2, not 0.5. The
                share of looks that costs this much is ``target_share``: give it to
                `keep_threshold` for the ρ that meets the target.
            penalty_rate: How fast that price changes; see `DualAscent`.
            stats_window_size: Episodes over which the logged return is averaged.
            tensorboard_log: Folder for TensorBoard.
            policy_kwargs: ``conv_channels``, ``hidden``, ``optimizer_kwargs`` of `GruPolicy`.
            verbose: 1 prints the log.
            seed: Of weights, episodes, actions and minibatches; None for random weights, actions
                and minibatches, and the environments' own order of episodes.
            device: Where the networks are trained.

        Raises:
            ValueError: If the environments are not focusgym's with ``index`` observations, or a
                value is out of range.
        """
        super().__init__(
            policy,  # type: ignore[arg-type]
            env,  # type: ignore[arg-type]
            learning_rate,
            n_steps=2,  # T is known once the environment is
            batch_size=2,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size  # type: ignore[assignment]
        self.normalize_returns = normalize_returns
        self.keep_from = keep_from
        self.target_gmacs = target_gmacs
        self.penalty_rate = penalty_rate
        self.n_rollouts = 0
        self.mean_returns: list[float] = []
        self.best_score: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        # The cache itself is not saved, only where it is and which it is.
        self.cache_path, self.cache_group, self.cache_fingerprint = "", "", ""
        self.options_allowed: list[int] | None = None
        self.penalty: float | None = None
        self.in_rollout = False
        # Not SB3's global generators: what is drawn may not depend on what else draws.
        self.draw_seed = int(
            np.random.SeedSequence().generate_state(1)[0] if seed is None else seed
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        cache = self._open_cache()
        check_settings(self)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.clip_range = FloatSchedule(self.clip_range)
        self.rollout_buffer = Rollout()  # type: ignore[assignment]
        self._watch = Watch(len(self.options_allowed or range(cache.n_options)))
        self.policy: GruPolicy = self.policy_class(  # type: ignore[assignment]
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            cache=cache,
            options_allowed=self.options_allowed,
            **self.policy_kwargs,
        ).to(self.device)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Go on with other environments on the same cache; see `PPO.set_env`.

        Raises:
            ValueError: If they cannot be trained on, or other options are allowed.
            CacheError: If they play another cache.
        """
        before = self.env, self._vec_normalize_env, self._last_obs
        super().set_env(env, force_reset)
        try:
            self._open_cache()
        except (ValueError, CacheError):  # go on with those that it had
            self.env, self._vec_normalize_env, self._last_obs = before
            raise

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything, all environments alike: their episodes are from one order."""
        super().set_random_seed(seed)
        if seed is not None and self.env is not None:
            self.env.unwrapped._seeds = [seed] * self.n_envs

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int
    ) -> bool:
        """Play one episode of every environment; see `PPO.collect_rollouts`.

        Raises:
            RuntimeError: If the environments do not play the episodes they said.
        """
        self.policy.set_training_mode(False)
        self.in_rollout = False  # one that was interrupted is given up
        callback.on_rollout_start()
        if not stand_at(self.players, self._last_obs):  # something else played on
            self._last_obs = env.reset()  # type: ignore[assignment]
        self.in_rollout = True
        videos: NDArray[np.int64] = self._last_obs["video"][:, 0]  # type: ignore[index]
        self._last_obs = None  # begin anew, should anything stop it
        learning = self._learning()
        shares = self.n_epochs == 1 and self._batch_episodes >= env.num_envs
        with torch.set_grad_enabled(shares):
            rollout = Rollout(videos, heads=self._episodes(videos, learning))
        drawn = draw_actions(rollout.heads, self.draw_seed, self.n_rollouts)
        all_actions = joint_actions(drawn, pairs=KEEP in self.policy.learners)
        steps: list[Columns] = []
        returns = np.zeros(env.num_envs)
        for n_steps in range(self.n_steps):
            actions = all_actions[:, n_steps]
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                self.in_rollout = False
                return False
            self._update_info_buffer(infos, dones)
            check_step(videos, new_obs, dones, n_steps, self.n_steps)
            steps.append(step_columns(rewards, infos))
            returns += rewards
        self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        columns = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
        rollout.tracks = {
            name: make_track(
                drawn[name].to(self.device),
                log_probs_of(rollout.heads[name][0].detach(), drawn[name].to(self.device)),
                rollout.heads[name][1],
                torch.from_numpy(columns[name]).float().to(self.device),
                gamma=self.gamma,
                gae_lambda=self.gae_lambda,
                normalize_returns=self.normalize_returns,
            )
            for name in learning
        }
        self.rollout_buffer = rollout  # type: ignore[assignment]
        self.n_rollouts += 1
        self.mean_returns.append(float(returns.mean()))
        self._report(rollout.heads, drawn[LOCATION].numpy(), columns)
        rollout.heads = rollout.heads if shares else {}
        rollout.versions = self._versions()
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Update the networks from the last rollout; see `PPO.train`."""
        rollout: Rollout = self.rollout_buffer  # type: ignore[assignment]
        policy: GruPolicy = self.policy
        policy.set_training_mode(True)
        self._update_learning_rate(policy.optimizer)
        weights = Weights(
            self.clip_range(self._current_progress_remaining),  # type: ignore[operator]
            *(self.ent_coef, self.vf_coef, self.normalize_advantage),
        )
        logged: dict[str, list[float]] = defaultdict(list)
        for epoch in range(self.n_epochs):
            for rows in self._minibatches(epoch, len(rollout.videos)):
                heads = self._heads(rollout, rows)
                losses = []
                for name, track in rollout.tracks.items():
                    loss, stats = ppo_loss(*heads[name], track.rows(rows), weights)
                    losses.append(loss)
                    for term, value in stats.items():
                        logged[f"{_LOGGED_AS[name]}/{term}"].append(value)
                policy.optimizer.zero_grad()
                # They share no weights: the gradient of the sum is that of each by itself.
                torch.stack(losses).sum().backward()
                for name in rollout.tracks if self.max_grad_norm < math.inf else ():
                    parameters = policy.learners[name].parameters()
                    torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
                policy.optimizer.step()
            self._n_updates += 1
        rollout.heads, self.in_rollout = {}, False
        for term, values in logged.items():
            self.logger.record(term, float(np.mean(values)))
        for name, track in rollout.tracks.items():
            flat = (values.flatten().cpu().numpy() for values in (track.values, track.returns))
            self.logger.record(f"{_LOGGED_AS[name]}/explained_variance", explained_variance(*flat))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", weights.clip_range)

    @property
    def target_share(self) -> float | None:
        """Share of frames to look at, so that an episode costs ``target_gmacs``; None without."""
        return None if self._dual is None else self._dual.share

    def network(self, threshold: float = 0.5) -> PolicyNetwork:
        """Return π, and π′ with ρ, to be plugged back; see `GruPolicy.network`."""
        return self.policy.network(threshold)

    def _excluded_save_params(self) -> list[str]:
        known = super()._excluded_save_params()
        return [*known, "players", "best_weights", "best_score", "_dual", "_watch"]

    def _open_cache(self) -> FeatureCache:
        """Return the environments' cache, or the one that was trained on."""
        if self.env is None:
            if not self.cache_path:
                raise ValueError("expected environments, best make_sb3's; got None")
            players, allowed = [], self.options_allowed
            cache = FeatureCache.open(self.cache_path, self.cache_group)
        else:
            players = checked_players(self.env, self._vec_normalize_env is not None)
            cache, allowed = players[0].cache, allowed_options_of(players[0])
        if self.cache_fingerprint not in ("", cache.fingerprint):
            raise CacheError(
                f"trained on the cache {self.cache_path} (fingerprint "
                f"{shortened(self.cache_fingerprint)}), but {cache.root} is another (fingerprint "
                f"{shortened(cache.fingerprint)}): use the cache it was trained on, or train anew"
            )
        if hasattr(self, "policy") and allowed != self.options_allowed:
            raise ValueError(
                f"the policy acts with options_allowed={self.options_allowed}, the environments "
                f"with {allowed}: save the model and load it with these environments instead"
            )
        dual = None
        if players and self.target_gmacs is not None:
            dual = DualAscent.to_target(self.target_gmacs, players[0], self.penalty_rate)
            for player in players:  # where the price has come to
                player.set_penalty(player.prices.penalty if self.penalty is None else self.penalty)
        self.players, self.options_allowed, self._dual = players, allowed, dual
        self.cache_path, self.cache_group = str(cache.root.resolve()), cache.group.name
        self.cache_fingerprint, self.n_steps = cache.fingerprint, cache.steps
        return cache

    @property
    def _batch_episodes(self) -> int:
        return self.n_envs if self.batch_size is None else self.batch_size // self.n_steps

    def _learning(self) -> list[str]:
        """Return the names of the learners that take part now."""
        both = self.num_timesteps / self._total_timesteps >= self.keep_from
        return [*self.policy.learners] if both else [LOCATION]

    def _episodes(self, videos: NDArray[np.int64], names: Iterable[str]) -> Heads:
        learners = cast(dict[str, Learner], self.policy.learners)
        return {name: learners[name].episodes(videos) for name in names}

    def _report(self, heads: Heads, options: NDArray[np.int64], columns: Columns) -> None:
        """Log what the policies do, warn if it is nothing, and move the price."""
        use = option_use(options, self.policy.config.n_options)
        figures = {f"options/{key}": value for key, value in use.items()}
        keep = None
        if KEEP in heads:
            probability = heads[KEEP][0].detach().softmax(dim=-1)[..., 1].cpu().numpy()
            penalty = self.players[0].prices.penalty
            keep = keep_use(probability, columns["attended"], columns[KEEP] + penalty, penalty)
            figures |= {f"keep/{key}": value for key, value in keep.items()}
            if self._dual is not None:
                remaining = 1 - self.num_timesteps / self._total_timesteps
                self.penalty = self._dual.step(penalty, keep["probability"], max(0.0, remaining))
                for player in self.players:
                    player.set_penalty(self.penalty)
        for key, value in figures.items():
            self.logger.record(key, value)
        self._watch.look(use, None if self._dual else keep)  # a price that moves may be far off

    def _heads(self, rollout: Rollout, rows: Tensor) -> Heads:
        """Return the heads of some episodes: the rollout's own if the weights are the same."""
        if rollout.heads and rollout.versions == self._versions():
            return rollout.heads
        return self._episodes(rollout.videos[rows.numpy()], rollout.tracks)

    def _versions(self) -> list[int]:
        return [parameter._version for parameter in self.policy.parameters()]

    def _minibatches(self, epoch: int, n_episodes: int) -> list[Tensor]:
        key = (self.draw_seed, self.n_rollouts, epoch)
        return minibatches(n_episodes, self._batch_episodes, key)
