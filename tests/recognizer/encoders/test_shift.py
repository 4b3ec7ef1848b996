"""The temporal shift, channel by channel, and torchvision's networks with it, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from focusgym.recognizer import Encoder, EncoderConfig, load_weights, read_encoder, write_bundle
from focusgym.recognizer.encoders.config import SHIFT_KINDS, ShiftKind
from focusgym.recognizer.encoders.shift import (
    ClipShift,
    ShiftMemory,
    add_shift,
    shift_frames,
    without_shift,
)

every_kind = pytest.mark.parametrize("kind", SHIFT_KINDS)


def literal(maps: Tensor, n_frames: int, kind: ShiftKind, *, back: bool = False) -> Tensor:
    """Shift each channel of each frame by itself; ``back`` moves as the gradient does."""
    n, channels = maps.shape[:2]
    part = channels // 8
    shifted = torch.zeros_like(maps)
    for row in range(n):
        frame = row % n_frames
        for channel in range(channels):
            step = 0  # where it comes from, in frames
            if channel < part:
                step = 1 if kind == "offline" else -1
            elif channel < 2 * part and kind == "offline":
                step = -1
            step = -step if back else step
            if 0 <= frame + step < n_frames:
                shifted[row, channel] = maps[row + step, channel]
    return shifted


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(0, 256, (*shape[:-1], 3, shape[-1], shape[-1]), generator=generator).byte()


def assert_near(actual: Tensor, expected: Tensor, relative: float = 1e-4) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


@every_kind
@pytest.mark.parametrize("n_frames", [1, 2, 5])
@pytest.mark.parametrize("channels", [3, 8, 13, 24])
def test_each_channel_of_each_frame(kind: ShiftKind, n_frames: int, channels: int) -> None:
    """Frames of different clips never mix; what is given stays, however it lies in memory."""
    maps = numbers(2 * n_frames, channels, 2, 3)
    expected = literal(maps, n_frames, kind)
    for layout in (torch.contiguous_format, torch.channels_last):
        original = maps.clone(memory_format=layout)
        shifted = shift_frames(original, n_frames, kind)
        assert torch.equal(shifted, expected)
        assert torch.equal(original, maps)
        assert shifted.stride() == original.stride()
    moved = not torch.equal(expected, maps)
    assert moved == (channels >= 8)


@every_kind
def test_clips_do_not_mix(kind: ShiftKind) -> None:
    maps, changed = numbers(6, 16, 2, 2), numbers(6, 16, 2, 2)
    changed[3:] += 1
    shifted, others = (shift_frames(each, 3, kind) for each in (maps, changed))
    assert torch.equal(shifted[:3], others[:3])
    assert not torch.equal(shifted[3:], others[3:])


@every_kind
@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_its_gradient_is_shifted_back(kind: ShiftKind, n_frames: int) -> None:
    """Against differences; and <shift(x), y> = <x, shift back(y)>, which is what adjoint means."""
    maps = numbers(2 * n_frames, 9, 2, 1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: shift_frames(x, n_frames, kind), (maps,))
    others = numbers(*maps.shape, seed=1, dtype=torch.float64)
    shifted = shift_frames(maps, n_frames, kind)
    (shifted * others).sum().backward()
    back = literal(others, n_frames, kind, back=True)
    assert maps.grad is not None
    assert torch.equal(maps.grad, back)
    products = (shifted * others).sum(), (maps * back).sum()
    torch.testing.assert_close(*products, rtol=1e-12, atol=1e-12)


def test_frame_by_frame_with_a_memory() -> None:
    """At two places of a network, in two videos: what the past alone gives."""
    places = numbers(2, 5, 16, 2, 2), numbers(2, 5, 8, 3, 3, seed=1)  # (B, F, channels, h, w)
    expected = [
        torch.cat([literal(video, 5, "online") for video in maps]).view_as(maps) for maps in places
    ]
    memory = ShiftMemory()
    for frame in range(5):
        memory.begin_frame()
        for maps, shifted in zip(places, expected, strict=True):
            frame_maps = maps[:, frame].clone()
            assert torch.equal(memory(frame_maps), shifted[:, frame])
            assert torch.equal(frame_maps, maps[:, frame])


def test_names() -> None:
    assert without_shift("resnet50") == ("resnet50", None)
    assert without_shift("resnet50_tsm") == ("resnet50", "offline")
    assert without_shift("resnet50_tsm_online") == ("resnet50", "online")
    assert without_shift("my_networks:small_tsm") == ("my_networks:small_tsm", None)


# --- networks -------------------------------------------------------------------------------------


@lru_cache
def torchvision_network(name: str) -> nn.Module:
    """A network of torchvision's, with statistics that batch normalisation cannot ignore."""
    torch.manual_seed(0)
    return spread(torchvision.models.get_model(name, weights=None)).eval()


def spread(network: nn.Module) -> nn.Module:
    """Draw statistics, and take the running ones from images: what is shifted then is seen."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
            module.momentum = None  # a mean
    with torch.no_grad():
        network.train()(numbers(8, 3, 64, 64, seed=2))
    return network


@lru_cache
def small() -> nn.Module:
    torch.manual_seed(1)
    return spread(Encoder(EncoderConfig("small_residual")).trunk)


@lru_cache
def encoder(name: str) -> Encoder:
    """With the weights of a network that does not shift."""
    plain, _ = without_shift(name)
    made = Encoder(EncoderConfig(name))
    if plain == "small_residual":
        made.trunk.load_state_dict(small().state_dict())
    else:
        load_weights(made, torchvision_network(plain).state_dict())
    return made.eval()


def shifting_hook(n_frames: int, kind: ShiftKind) -> Callable[..., Any]:
    return lambda _, inputs: (literal(inputs[0], n_frames, kind),)


def residual_branches(name: str) -> list[nn.Module]:
    """Where a network of torchvision's begins to shift, written out by hand."""
    network: Any = torchvision_network(name)
    if name == "mobilenet_v2":
        return [network.features[i].conv[0][0] for i in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    every = 2 if name == "resnet101" else 1
    return [block.conv1 for stage in stages for block in list(stage)[::every]]


@torch.no_grad()
def by_hand(name: str, kind: ShiftKind, frames: Tensor) -> Tensor:
    """Return the maps ``(F, channels, h, w)`` of a clip that was normalised."""
    network: Any = torchvision_network(name)
    hooks = [
        module.register_forward_pre_hook(shifting_hook(len(frames), kind))
        for module in residual_branches(name)
    ]
    try:
        if name == "mobilenet_v2":
            maps: Tensor = network.features(frames)
            return maps
        x = network.maxpool(network.relu(network.bn1(network.conv1(frames))))
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = stage(x)
        return x  # type: ignore[no-any-return]
    finally:
        for hook in hooks:
            hook.remove()


@every_kind
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@torch.no_grad()
def test_maps_are_those_of_torchvisions_network_with_the_shift(name: str, kind: ShiftKind) -> None:
    """Two clips at once; the mean over frames is what `encode` gives."""
    shifting = encoder(f"{name}_tsm" + "_online" * (kind == "online"))
    prepared = shifting.prepare(images(2, 4, 64))
    clip_maps = shifting.encode_frames(prepared)
    for clip, maps in zip(prepared, clip_maps, strict=True):
        assert_near(maps, by_hand(name, kind, clip))
    assert_near(shifting.encode(prepared), clip_maps.mean(1))
    plain = encoder(name).encode_frames(prepared)
    assert float((clip_maps - plain).abs().max()) > 0.05 * float(plain.abs().max())


@pytest.mark.parametrize(
    ("name", "count"), [("mobilenet_v2", 10), ("resnet50", 16), ("resnet101", 2 + 2 + 12 + 2)]
)
def test_where_they_shift(name: str, count: int) -> None:
    """The first convolution of those branches is given what was shifted, and no other module."""
    built: Encoder = Encoder(EncoderConfig(f"{name}_tsm"))
    graph = built.trunk.graph  # type: ignore[union-attr]
    shifts = [node for node in graph.nodes if node.op == "call_function" and "shifted" in node.name]  # type: ignore[union-attr]
    assert len(shifts) == count
    targets = [[user.target for user in node.users] for node in shifts]
    names = {module: path for path, module in torchvision_network(name).named_modules()}
    expected = [[names[module]] for module in residual_branches(name)]
    assert targets == expected


@pytest.mark.parametrize(
    ("name", "n_frames", "blocks"), [("resnet18", 19, 8), ("small_residual", 7, 2)]
)
@torch.no_grad()
def test_equal_frames_are_seen_one_by_one_away_from_the_ends(
    name: str, n_frames: int, blocks: int
) -> None:
    """Each block that shifts reaches one frame further."""
    shifting, plain = encoder(f"{name}_tsm"), encoder(name)
    image = shifting.prepare(images(1, 32))
    maps = shifting.encode_frames(image.expand(1, n_frames, -1, -1, -1))[0]
    expected = plain.encode(image)[0]
    for frame in range(n_frames):
        off = float((maps[frame] - expected).abs().max()) / float(expected.abs().max())
        if blocks <= frame < n_frames - blocks:
            assert off < 1e-4, frame
        elif frame in (0, n_frames - 1):
            assert off > 1e-2, frame


@pytest.mark.parametrize("name", ["resnet18_tsm", "mobilenet_v2_tsm", "small_residual_tsm_online"])
@torch.no_grad()
def test_fused_networks_shift_too(name: str) -> None:
    plain = encoder(name)
    fused = plain.fused()
    prepared = plain.prepare(images(1, 4, 48))
    assert_near(fused.encode_frames(prepared), plain.encode_frames(prepared))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert (fused.shift, fused.is_fused, plain.is_fused) == (plain.shift, True, False)


@pytest.mark.parametrize("name", ["resnet18_tsm_online", "small_residual_tsm_online"])
@torch.no_grad()
def test_a_stream_is_the_clip(name: str) -> None:
    """Frame by frame as all at once, in two videos; and no map depends on a later frame."""
    online = encoder(name)
    prepared = online.prepare(images(2, 5, 32))
    expected = online.encode_frames(prepared)
    for each in (online, online.fused()):
        memory = ShiftMemory()
        frame_maps = [each.encode_next(prepared[:, frame], memory) for frame in range(5)]
        assert_near(torch.stack(frame_maps, 1), expected)
    other = prepared.clone()
    other[:, -1] = -other[:, -1]
    changed = online.encode_frames(other)
    assert_near(changed[:, :-1], expected[:, :-1])
    assert float((changed[:, -1] - expected[:, -1]).abs().max()) > 0.01
    offline = encoder(name.removesuffix("_online"))
    ends = [offline.encode_frames(each)[:, -2] for each in (prepared, other)]
    assert float((ends[0] - ends[1]).abs().max()) > 0.01, "both ways, it does"


def test_it_is_trained_through_the_shift() -> None:
    """The gradient of a clip's map with respect to its frames is that of the layers by hand."""
    shifting = encoder("resnet18_tsm")
    weights, gradients = None, []
    for forward in (
        lambda clip: shifting.encode_frames(clip[None])[0],
        lambda clip: by_hand.__wrapped__("resnet18", "offline", clip),
    ):
        frames = shifting.prepare(images(3, 32)).detach().clone().requires_grad_()
        maps = forward(frames)
        weights = numbers(*maps.shape) if weights is None else weights
        (maps * weights).sum().backward()
        gradients.append(frames.grad)
    assert_near(*gradients, relative=1e-3)  # type: ignore[arg-type]


# --- names, files, refusals -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_weights_have_torchvisions_names(name: str) -> None:
    head = ("fc.", "classifier.")
    expected = {key for key in torchvision_network(name).state_dict() if not key.startswith(head)}
    for suffix in ("_tsm", "_tsm_online"):
        keys = {key.removeprefix("trunk.") for key in encoder(name + suffix).state_dict()}
        assert keys == expected


@pytest.mark.parametrize("name", ["resnet18_tsm", "small_residual_tsm_online"])
@torch.no_grad()
def test_bundles_keep_the_shift(name: str, tmp_path: Path) -> None:
    plain = encoder(name)
    write_bundle(tmp_path / "encoder", "encoder", plain.config, plain)
    read = read_encoder(tmp_path / "encoder")
    assert (read.shift, read.config) == (plain.shift, plain.config)
    prepared = plain.prepare(images(1, 3, 32))
    assert_near(read.encode_frames(prepared), plain.encode_frames(prepared))


@pytest.mark.parametrize("name", ["vgg11_tsm", "small_glance_tsm", "swin_t_tsm_online"])
def test_networks_without_residual_branches_are_refused(name: str) -> None:
    plain = name.partition("_tsm")[0]
    message = (
        f"there is no temporal shift in '{plain}', of '{name}': choose a network with residual"
    )
    with pytest.raises(ValueError, match=message):
        EncoderConfig(name)


def test_what_cannot_be_encoded_is_refused() -> None:
    offline, online = (encoder(f"small_residual_tsm{end}") for end in ("", "_online"))
    for each in (offline, online):
        with pytest.raises(ValueError, match=r"reads segments of several frames, .*--segment-fram"):
            each(images(2, 32))
    for other in (offline, encoder("small_residual")):
        message = f"shifts from the past alone; got {other.config.name}: .*ends in _tsm_online"
        with pytest.raises(ValueError, match=message):
            other.encode_next(other.prepare(images(2, 32)), ShiftMemory())


def test_a_network_that_does_not_call_a_module_is_refused() -> None:
    network = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()))
    with pytest.raises(ValueError, match="expected modules that the network calls.* call 7.conv1"):
        add_shift(network, ["0", "7.conv1"])
    assert ClipShift(2, "online")(numbers(4, 8, 1, 1)).shape == (4, 8, 1, 1)
