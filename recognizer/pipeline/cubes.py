"""AdaFocusV3's recognizer: a glance at the whole video, then cubes of it until it is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..accounting.compute import Cost, cube_cost, encoder_gmacs
from ..classifiers.base import Classifier
from ..classifiers.registry import build_classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..encoders.frames import evenly
from ..exits import ExitRule
from ..places.cubes import Cubes
from ..policies.cubes import CubePolicy
from .checks import check_clips, check_finite, check_named, check_pixels
from .look import LOCAL_PIXELS, autocast, autocast_dtype, batches, glance_at_frames, pool
from .recognition import CubeRecognizerConfig, Recognition
from .recognizer import Recognizer

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class CubeRecognizer(Recognizer):
    """f_G, π, f_L and f_C assembled, for videos whose frames are all given.

    f_G runs over all frames, or over some that are spread evenly, and f_C predicts from their
    maximum alone; π names all cubes at once; then f_L and f_C read one cube after the other. With
    exits, a video leaves the batch after the first prediction that is sure enough, and no cube
    after that is cut out.

    Attributes, beside those of `Recognizer`:
        policy: π.
        cubes: Where f_L may be run; ``places`` too.

    Source: AdaFocusV3 (arXiv:2209.13465) Figure 1, sections 3.1 and 3.4.
    """

    glances: ClassVar[int] = 1

    frames: FrameConfig
    policy: CubePolicy
    places: Cubes

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        cubes: Cubes,
        policy: CubePolicy,
        *,
        frames: FrameConfig,
        classes: Sequence[str] = (),
        precision: str = "float32",
        exits: ExitRule | None = None,
    ) -> None:
        """Assemble the recognizer, in eval mode.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            cubes: Where f_L may be run.
            policy: π.
            frames: Which frames it is made for, and how they are prepared.
            classes: Names of the C classes.
            precision: ``float32``; or ``bfloat16`` or ``float16``, in which the encoders then
                compute where torch's autocast does. π and f_C always compute in float32.
            exits: When a video stops; their first step is the glance.

        Raises:
            ValueError: If frames, cubes, policy, exits and classifier are not for each other, names
                are not as many as classes, or the precision is unknown.
        """
        super().__init__(
            glance_encoder,
            local_encoder,
            classifier,
            frames=frames,
            classes=classes,
            precision=precision,
            exits=None,
        )
        video_sizes, expected = (frames.frame_px, frames.steps), (cubes.frame_px, cubes.steps)
        if video_sizes != expected or frames.segment_frames != 1 or frames.order != "video":
            raise ValueError(
                f"{cubes.name} is for {expected[1]} frames of {expected[0]} px in the video's "
                f"order, a segment each; got {frames}: read the frames that the cubes are for"
            )
        n_cubes = policy.config.cubes
        if policy.config.steps > cubes.steps:
            raise ValueError(
                f"the policy is for a glance at {policy.config.steps} frames, and the cubes are of "
                f"{cubes.steps}: glance at no more frames than there are"
            )
        sizes, most = classifier.config, classifier.most_steps
        if not sizes.reuse_glance or (most is not None and most <= n_cubes):
            raise ValueError(
                f"expected a classifier that reads the glance, for {n_cubes + 1} predictions, the "
                f"first after it; got {sizes}: build it for as many steps, with reuse_glance"
            )
        check_clips("f_G", glance_encoder, policy.config.steps)
        check_clips("f_L", local_encoder, cubes.frames)
        self.policy = policy
        self.exits = exits  # as many as the policy's cubes, and one
        self.cubes = self.places = cubes
        self._cost: Cost | None = None
        self.eval()

    @property
    def cost(self) -> Cost:
        """Multiply-adds of a video with all cubes, by network, counted once on the real modules."""
        if self._cost is None:
            networks = self.glance_encoder, self.local_encoder, self.classifier, self.policy
            self._cost = cube_cost(*networks, self.cubes)
        return self._cost

    def step_gmacs(self, *, policy: bool) -> tuple[float, ...]:
        """Return what each prediction adds, ``(D + 1,)`` GMACs: the glance first, then the cubes.

        Args:
            policy: Whether π runs, with the glance.
        """
        cost, n = self.cost, self.policy.config.cubes
        each = cost.classifier_gmacs / (n + 1)
        first = cost.glance_gmacs + policy * cost.policy_gmacs + each
        return (first, *[cost.local_gmacs / n + each] * n)

    @property
    def predictions(self) -> int:
        """D + 1: one after the glance, and one after each cube."""
        return self.policy.config.cubes + 1

    @property
    def units(self) -> str:
        """Cubes."""
        return "cubes"

    @property
    def obstacle(self) -> str | None:
        """That its cubes are placed at random, if they are."""
        if not self.policy.config.draws:
            return None
        return (
            "looks at random: it is a control; give a recognizer that has learned where to look, "
            "or pass `draws` to CubeRecognizer in Python"
        )

    def full_frames_gmacs(self) -> float:
        """Return the GMACs of a video with the glance, f_L on all frames S×S, and f_C; no policy.

        Source: as of `AdaptiveRecognizer.full_frames_gmacs`.
        """
        local = self.cubes.steps * encoder_gmacs(self.local_encoder, self.cubes.frame_px)
        return self.cost.glance_gmacs + local + self.cost.classifier_gmacs

    @classmethod
    def assemble(cls, content: Mapping[str, Any]) -> Self:
        """Build a recognizer with random weights from a bundle's config."""
        config = CubeRecognizerConfig.of(content)
        return cls(
            Encoder(config.glance, trusted=False),
            Encoder(config.local, trusted=False),
            build_classifier(config.classifier, trusted=False),
            config.cubes,
            CubePolicy(config.policy),
            frames=config.frames,
            classes=config.classes,
            exits=config.exits,
        )

    def describe(self) -> CubeRecognizerConfig:
        """Return what it is built from."""
        return CubeRecognizerConfig(
            glance=self.glance_encoder.config,
            local=self.local_encoder.config,
            classifier=self.classifier.config,
            policy=self.policy.config,
            cubes=self.cubes,
            frames=self.frames,
            classes=self.classes,
            exits=self.exits,
        )

    @torch.no_grad()
    def forward(
        self, frames: Tensor, where: Tensor | None = None, *, draws: Tensor | None = None
    ) -> Recognition:
        """Recognize videos.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8; for other sizes see `prepare`.
            where: ``(B, D, 3)`` centres instead of the policy's, which then does not run.
            draws: ``(B, D, 3)`` uniform in [0, 1), where the policy places cubes at random.

        Returns:
            D + 1 predictions for each video: after the glance, whose place is −1, and after each
            cube. Places are centres ``(B, D + 1, 3)`` float32.

        Raises:
            ValueError: If the frames are not uint8, T and S×S, given centres are not D in [0, 1]³
                for each video, or there are no draws for a policy that needs them.
            PredictionError: If a prediction is not finite.

        Source: AdaFocusV3 (arXiv:2209.13465) sections 3.1 and 3.4.
        """
        check_pixels(frames, self.cubes.frame_px)
        self.cubes.check_videos(frames)
        frames = frames.to(self.device)
        glanced = frames[:, glanced_frames(self.cubes, self.policy)]  # (B, T', 3, S, S)
        computes_in = autocast_dtype(self.precision)
        maps, glance = glance_at_frames(self.glance_encoder, glanced, computes_in)
        named = where is None
        if where is None:
            where = self.policy(maps, draws)  # (B, D, 3)
            check_named(where)
        else:
            where = self._checked_centers(where, len(frames))
        holds = self.cubes.frames_at(where, distinct=True)
        if self.exits is None:
            local = self._look(frames, where, holds)
            logits = self.classifier(*cube_inputs(glance, local, self.cubes, holds))
            fed = torch.ones(logits.shape[:2], dtype=torch.bool, device=self.device)
        else:
            logits, fed = self._until_sure(frames, glance, where, holds, self.exits)
        check_finite(logits, self.precision, torch.float32)
        return self._recognition(logits, where, holds, fed, policy=named)

    def _checked_centers(self, where: Tensor, batch: int) -> Tensor:
        expected = (batch, self.policy.config.cubes, 3)
        if tuple(where.shape) != expected:
            raise ValueError(
                f"expected centres {expected} of cubes, (x, y, t) each; got {tuple(where.shape)}: "
                "name all cubes of every video"
            )
        self.cubes.check(where)
        return where.to(self.device)

    def _until_sure(
        self, frames: Tensor, glance: Tensor, where: Tensor, holds: Tensor, exits: ExitRule
    ) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, D + 1, C)``, and until when videos went on ``(B, D + 1)``, bool."""
        f_c, batch = self.classifier, len(frames)
        rows, state = torch.arange(batch, device=self.device), f_c.start(batch)
        ahead = [f_c.project(glance.amax(dim=1), None)]
        so_far: list[Tensor] = []
        fed: list[Tensor] = []
        for step in range(where.shape[1] + 1):
            if not ahead:
                # Of the videos that go on, all cubes up to the next one after which one may stop.
                some = slice(step - 1, step - 1 + exits.until_exit(step))
                held = holds[rows, some]
                local = self._look(frames[rows], where[rows, some], held)
                inputs = f_c.project(_of_frames(glance[rows], self.cubes, held), local)
                ahead = [*inputs.unbind(dim=1)]
            at = torch.full((len(rows),), step, device=self.device)
            state = f_c.advance(state, f_c.recur(state, at), ahead.pop(0), at)
            row_logits = f_c.logits(state, at)
            logits = row_logits if not step else so_far[-1].index_put((rows,), row_logits)
            goes_on = ~exits.stops(row_logits, step)
            so_far.append(logits)
            fed.append(torch.zeros(batch, dtype=torch.bool, device=self.device))
            fed[-1][rows] = True
            rows, state = rows[goes_on], state[goes_on]
            if not len(rows):
                break
        left = where.shape[1] + 1 - len(fed)
        so_far += so_far[-1:] * left
        fed += [torch.zeros_like(fed[-1])] * left
        return torch.stack(so_far, dim=1), torch.stack(fed, dim=1)

    def _look(self, frames: Tensor, where: Tensor, holds: Tensor) -> Tensor:
        """Return the local vectors ``(B, D, L)`` of cubes."""
        # Crops of whole pixels are normalised after they are cut: these are the same numbers.
        cut = self.cubes.crop(frames, where, holds).flatten(0, 1)  # (B·D, F, 3, P, P)
        pooled = []
        for some in batches(cut[:, 0] if cut.shape[1] == 1 else cut, LOCAL_PIXELS):
            with autocast(frames.device, autocast_dtype(self.precision)):
                pooled.append(cube_vectors(self.local_encoder, self.local_encoder.prepare(some)))
        vectors: Tensor = torch.cat(pooled).unflatten(0, where.shape[:2])
        return vectors

    def _recognition(
        self, logits: Tensor, where: Tensor, holds: Tensor, fed: Tensor, *, policy: bool
    ) -> Recognition:
        batch = len(logits)
        attended = fed.clone()
        attended[:, 0] = False
        places = torch.cat([where.new_zeros(batch, 1, 3), where], dim=1)
        boxes = self.cubes.boxes_at(places).masked_fill(~attended[..., None], 0)
        shown = places.masked_fill(~attended[..., None], -1)
        middle = holds[..., holds.shape[-1] // 2]
        segments = torch.cat([middle.new_full((batch, 1), -1), middle], dim=1)
        added = self.step_gmacs(policy=policy)
        prices = torch.tensor(added, dtype=torch.float64, device=fed.device)
        gmacs = (fed * prices).cumsum(dim=1)
        return Recognition(
            logits, shown, boxes, attended, gmacs, fed, segments.masked_fill(~attended, -1)
        )


def glanced_frames(cubes: Cubes, policy: CubePolicy) -> list[int]:
    """Return which of a video's frames f_G reads: as many as π is for, spread evenly."""
    return [int(frame) for frame in evenly(cubes.steps, policy.config.steps)]


def cube_vectors(encoder: Encoder, cut: Tensor) -> Tensor:
    """Return local vectors ``(M, L)`` of cubes, in one batch; f_L may be trained through it.

    Args:
        encoder: f_L.
        cut: ``(M, F, 3, P, P)``, as the encoder prepares images, or ``(M, 3, P, P)`` of one frame.
    """
    return pool(encoder.encode(cut), torch.float32)


def cube_inputs(
    glance: Tensor, local: Tensor, cubes: Cubes, holds: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what f_C reads: the glance first, then the cubes.

    Args:
        glance: ``(B, T', G)`` glance vectors, of frames that are spread evenly.
        local: ``(B, D, L)`` local vectors of the cubes.
        cubes: Of how many frames the video is.
        holds: ``(B, D, F)`` the frames of the cubes.

    Returns:
        ``(B, D + 1, G)``: the largest values over the glance, then the mean over each cube's frames
        of what was seen nearest to them; and ``(B, D + 1, L)``: zeros, then those of the cubes.

    Source: AdaFocusV3 (arXiv:2209.13465) sections 3.2 and 3.4: p_0 from the glance alone, and
        features of f_G reused beside those of f_L. Which of f_G's it leaves open.
    """
    beside = _of_frames(glance, cubes, holds)
    seen = torch.cat([glance.amax(dim=1, keepdim=True), beside], dim=1)
    return seen, torch.cat([torch.zeros_like(local[:, :1]), local], dim=1)


def _of_frames(glance: Tensor, cubes: Cubes, holds: Tensor) -> Tensor:
    """Return the mean ``(B, D, G)`` of what the glance has nearest to the frames of each cube."""
    every = torch.arange(cubes.steps)[:, None]
    nearest = (every - torch.from_numpy(evenly(cubes.steps, glance.shape[1]))).abs().argmin(dim=1)
    rows = torch.arange(len(glance), device=glance.device)[:, None, None]
    return glance[rows, nearest.to(glance.device)[holds]].mean(dim=2)
