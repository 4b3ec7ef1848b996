"""AdaFocusV3's policy: from the glance at a whole video to the centres of all its cubes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import CubePolicyConfig


class CubePolicy(nn.Module):
    """π that names the centres (x, y, t) of all cubes of a video, from the maps of all its frames.

    A frame's map becomes H units: a 1×1 convolution, batch normalisation and ReLU; a linear layer,
    batch normalisation and ReLU; and a convolution over three frames, added to them. From a frame's
    units two linear layers read how much each of the D cubes is for this frame, and where in it
    there is something to see. A softmax over the frames turns the former into D times, the mean of
    the frames' times; the place of a cube is what is read at its time, between two frames.

    Times are fractions of the way that a cube can be moved. Of a cube of several frames the place
    is read as many parts through the glance, not at its middle frame.

    Everything is differentiable: the gradient of what is cut out trains it.

    Attributes:
        config: Its sizes.

    Source: AdaFocusV3 (arXiv:2209.13465) section 3.2: no recurrence, all centres at one time. It
        leaves the layers open; these are ours.
    """

    def __init__(self, config: CubePolicyConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        if not config.learns:
            return
        cells = config.map_height * config.map_width
        self.conv = nn.Linear(config.glance_channels, config.conv_channels, bias=False)
        self.conv_norm = nn.BatchNorm1d(config.conv_channels)
        self.linear = nn.Linear(cells * config.conv_channels, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.over_time = nn.Conv1d(config.hidden, config.hidden, 3, padding=1)
        if config.time == "learned":
            self.moments = nn.Linear(config.hidden, config.cubes, bias=False)
            self.preferences = nn.Parameter(torch.empty(config.steps, config.cubes))  # (T, D)
            if not self.preferences.is_meta:  # where sizes of a file are only compared
                # Each cube prefers a time of its own at first: equal ones would all learn the same.
                times, (_, _, spread) = _times(config.steps), evenly_spread(config.cubes).unbind(1)
                with torch.no_grad():
                    self.preferences.copy_(-8 * (times[:, None] - spread) ** 2)
        if config.space == "learned":
            self.places = nn.Linear(config.hidden, 2)

    def forward(self, maps: Tensor, draws: Tensor | None = None) -> Tensor:
        """Return the centres of the cubes.

        Args:
            maps: ``(B, T, h, w, G)`` glance maps.
            draws: ``(B, D, 3)`` uniform in [0, 1), where an axis is random; see
                `CubePolicyConfig.draws`.

        Returns:
            ``(B, D, 3)`` in [0, 1]; see `Cubes`.

        Raises:
            ValueError: If maps are of other sizes, or there are no draws for a random axis.
        """
        config = self.config
        sizes = (config.steps, config.map_height, config.map_width, config.glance_channels)
        if tuple(maps.shape[1:]) != sizes:
            raise ValueError(
                f"this policy is for maps (B, {', '.join(map(str, sizes))}); got "
                f"{tuple(maps.shape)}: give those that it was trained on"
            )
        fixed = evenly_spread(config.cubes).to(maps.device).expand(len(maps), -1, -1)
        others = {"uniform": fixed}
        if config.draws:
            if draws is None or tuple(draws.shape) != tuple(fixed.shape):
                raise ValueError(
                    f"this policy places cubes at random: give draws {tuple(fixed.shape)} in "
                    f"[0, 1); got {None if draws is None else tuple(draws.shape)}"
                )
            others["random"] = draws.to(fixed)
        if not config.learns:
            return torch.cat([others[config.space][..., :2], others[config.time][..., 2:]], dim=-1)
        units = self._units(maps)  # (B, T, H)
        if config.time == "learned":
            shares = (self.moments(units) + self.preferences).softmax(dim=1)  # (B, T, D)
            when = torch.einsum("btd,t->bd", shares, _times(config.steps).to(units.device))
        else:
            when = others[config.time][..., 2]
        if config.space == "learned":
            where = _read_at(self.places(units).sigmoid(), when)  # (B, D, 2)
        else:
            where = others[config.space][..., :2]
        return torch.cat([where, when[..., None]], dim=-1)

    def _units(self, maps: Tensor) -> Tensor:
        batch, steps = maps.shape[:2]
        cells = self.conv(maps)
        cells = self.conv_norm(cells.reshape(-1, cells.shape[-1])).relu()
        units = self.norm(self.linear(cells.reshape(batch * steps, -1))).relu()
        units = units.unflatten(0, (batch, steps))  # (B, T, H)
        mixed = self.over_time(units.transpose(1, 2)).transpose(1, 2).relu()
        both: Tensor = units + mixed
        return both


def evenly_spread(n: int) -> Tensor:
    """Return the first n points ``(n, 3)`` of a Sobol sequence in (0, 1)³, the middle first.

    Of any number of them all three axes are covered evenly.
    """
    # Without the corner, which is the first one.
    points: Tensor = torch.quasirandom.SobolEngine(3).draw(n + 1)[1:]
    return points


def _times(steps: int) -> Tensor:
    """Return the times ``(T,)`` of the frames, from 0 to 1."""
    return torch.linspace(0, 1, steps) if steps > 1 else torch.full((1,), 0.5)


def _read_at(track: Tensor, when: Tensor) -> Tensor:
    """Return what a track ``(B, T, 2)`` has at times ``(B, D)`` in [0, 1], between two frames.

    No gradient goes to the times: they learn from what is seen then, not from where it is.
    """
    steps = track.shape[1]
    at = when.detach() * (steps - 1)
    first = at.floor().long().clamp(0, max(0, steps - 2))
    second = (first + 1).clamp(max=steps - 1)
    before, behind = (
        track.gather(1, each[..., None].expand(-1, -1, track.shape[2])) for each in (first, second)
    )
    return torch.lerp(before, behind, (at - first)[..., None])
