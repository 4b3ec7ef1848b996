"""Trunks: networks up to their pooling, this project's small ones and torchvision's by name."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn, no_grad, zeros
from torch.nn import functional

from ..errors import FocusgymError
from ..registry import find
from .config import ShiftKind
from .masks import MaskProfile, add_masks, without_masks
from .quantised import quantise, without_bits
from .shift import add_shift, without_shift

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What torchvision calls the modules that come after the pooling, and the auxiliary classifiers; and
# what the released code of TSM calls its head.
HEADS = frozenset({"fc", "classifier", "head", "heads", "AuxLogits", "aux1", "aux2", "new_fc"})

# torchvision's weights of these two expect inputs that the network itself normalises once more.
_INCEPTION = {"init_weights": False, "aux_logits": False, "transform_input": True}
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}

_POOLING_MODULES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_POOLING_FUNCTIONS = (functional.avg_pool2d, functional.adaptive_avg_pool2d)
_TRACE_PX = 224

# Of networks that can shift: this project's; ResNets' names; the parts of an inverted residual
# block that widens its input first; and how many blocks a stage has, of which every second shifts.
_SMALL_SHIFTED = ("small_residual", "small_residual_glance")
_RESNETS = re.compile(r"(resnet|resnext|wide_resnet)\d+")
_EXPANDS = 4
_MANY_BLOCKS = 23


class EncoderError(FocusgymError):
    """A network cannot be an encoder; the message says which ones can."""


@dataclass(frozen=True)
class Trunk:
    """A network up to its pooling, and what it expects of its input.

    Attributes:
        network: From normalised images ``(M, 3, side, side)`` float32 to the feature map
            ``(M, channels, h, w)``; randomly initialised.
        channels: G or L.
        mean: Per colour, of images in [0, 1].
        std: Per colour, of images in [0, 1].
        shift: How the network shifts channels along the frames of a clip; None if it does not. If
            it does, it takes the shift as its second argument, see `add_shift`.
        profile: Which channels inside its blocks are not computed; None for all. If there is one,
            the network takes what masks them as its second argument, see `add_masks`.
    """

    network: nn.Module
    channels: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    shift: ShiftKind | None = None
    profile: MaskProfile | None = None


def _conv(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _small_glance() -> Trunk:
    return Trunk(nn.Sequential(_conv(3, 16, 1), _conv(16, 32, 2), _conv(32, 32, 1)), 32)


def _small_local() -> Trunk:
    layers = _conv(3, 16, 2), _conv(16, 32, 2), _conv(32, 64, 2), _conv(64, 64, 1)
    return Trunk(nn.Sequential(*layers), 64)


class _ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside which the input goes through a 1×1 convolution."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.beside = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
        self.beside_norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        added: Tensor = (branch + self.beside_norm(self.beside(x))).relu()
        return added


def _small_residual() -> Trunk:
    blocks = _ResidualBlock(16, 32, 2), _ResidualBlock(32, 64, 2)
    return Trunk(nn.Sequential(_conv(3, 16, 2), *blocks), 64)


def _small_residual_glance() -> Trunk:
    blocks = _ResidualBlock(16, 32, 2), _ResidualBlock(32, 32, 1)
    return Trunk(nn.Sequential(_conv(3, 16, 1), *blocks), 32)


# This project's own, by name; functions of yours are found by ``module:attribute``.
TRUNKS: dict[str, Callable[[], Trunk]] = {
    "small_glance": _small_glance,
    "small_local": _small_local,
    "small_residual": _small_residual,
    "small_residual_glance": _small_residual_glance,
}


def check_name(name: str) -> None:
    """Check that a network of this name is known, without building it.

    Raises:
        ValueError: If it is not, naming the small ones and torchvision's closest names. What
            ``module:attribute`` stands for is checked when it is built.
    """
    full_name, (name, bits) = name, without_bits(name)
    name, profile = without_masks(name)
    name, kind = without_shift(name)
    if profile is not None and (not _can_shift(name) or bits is not None or kind is not None):
        raise ValueError(
            f"there is no mask profile of {full_name!r}: choose a network with residual branches, "
            f"such as mobilenet_v2, resnet50 or {_SMALL_SHIFTED[0]}, without _tsm and of 32 bits"
        )
    if kind is not None and not _can_shift(name):
        raise ValueError(
            f"there is no temporal shift in {name!r}, of {full_name!r}: choose a network with "
            f"residual branches, such as mobilenet_v2, resnet18, resnet50 or {_SMALL_SHIFTED[0]}"
        )
    if name in TRUNKS or ":" in name:
        return
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return
    close = difflib.get_close_matches(name, known) or ["mobilenet_v2", "resnet50"]
    raise ValueError(
        f"unknown encoder {name!r}: choose {', '.join(TRUNKS)}, a classification network of "
        f"torchvision's by its name, such as {', '.join(close)}, or 'module:attribute' of a "
        "function of your own that returns a Trunk; or the folder of a bundle that is there"
    )


def build_trunk(name: str, *, trusted: bool = True) -> Trunk:
    """Build a network without its pooling and head, with random weights.

    A network of torchvision's is traced and cut after the last feature map with more than one
    position that is neither pooled nor of the head. Its state dict keeps torchvision's names. It
    is traced for inference: stochastic depth is off, also if it is trained.

    Args:
        name: ``small_glance``, ``small_local``, ``small_residual``,
            ``small_residual_glance`` (this project's, for the embedded data sets); one of
            ``torchvision.models.list_models(module=torchvision.models)``; or ``module:attribute``
            of a function of your own that returns a `Trunk`. With ``_tsm`` or ``_tsm_online`` at
            the end, a network with residual branches shifts channels along the frames of a clip,
            see `shift_frames`. With ``_2bit`` to ``_8bit`` behind that, convolutions are quantised,
            see `quantise`. With ``_reuse50``, or another percentage, and ``_skip25`` behind it,
            channels of residual branches are not computed, see `MaskProfile`. Weights have the
            same names.
        trusted: Whether the module of your own function may be imported; see `find`.

    Raises:
        ValueError: If the name is unknown, what it stands for returns no `Trunk`, or the network
            cannot be quantised.
        EncoderError: If the network has no feature map before its pooling (vision transformers).

    Source: the shift is at the first convolution of each residual branch, of ResNets with more than
        22 blocks in a stage of every second, and of MobileNet-V2's blocks with a branch to add to:
        TSM (arXiv:1811.08383) section 4 and its released code.
    """
    check_name(name)
    name, bits = without_bits(name)
    if bits is not None:
        trunk = build_trunk(name, trusted=trusted)
        quantise(trunk.network, bits)
        return trunk
    name, profile = without_masks(name)
    name, kind = without_shift(name)
    if name in TRUNKS or ":" in name:
        trunk = find("encoder", name, TRUNKS, trusted=trusted)()
        if not isinstance(trunk, Trunk):
            raise ValueError(f"encoder {name!r} must return a Trunk; got {type(trunk).__name__}")
        if profile is not None:
            blocks = _blocks(trunk.network)
            masked = add_masks(fx.symbolic_trace(trunk.network), blocks, profile)
            return replace(trunk, network=masked, profile=profile)
        if kind is None:
            return trunk
        shifted = add_shift(fx.symbolic_trace(trunk.network), _branches(trunk.network))
        return replace(trunk, network=shifted, shift=kind)
    import torchvision

    model = torchvision.models.get_model(name, weights=None, **_OPTIONS.get(name, {})).eval()
    cut = _CUTS.get(name) or _cut(name, model)
    # Takes over what the graph uses, no more; the graph is its own, for fusing changes it.
    network = fx.GraphModule(model, copy.deepcopy(cut.graph))
    if kind is not None:
        add_shift(network, _branches(model))
    if profile is not None:
        add_masks(network, _blocks(model), profile)
    for key in cut.constants:  # no weights: torchvision's files do not have them
        network.register_buffer(key, network.get_buffer(key), persistent=False)
    if not cut.constants:
        _CUTS[name] = cut
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return Trunk(network, cut.channels, tuple(preset.mean), tuple(preset.std), kind, profile)


def _can_shift(name: str) -> bool:
    """Whether it is known where a network's residual branches begin."""
    return name in ("mobilenet_v2", *_SMALL_SHIFTED) or _RESNETS.match(name) is not None


def _branches(network: nn.Module) -> list[str]:
    """Return the paths of the first convolutions of a network's residual branches that shift."""
    from torchvision.models.mobilenetv2 import InvertedResidual
    from torchvision.models.resnet import BasicBlock, Bottleneck

    stages: dict[str, list[str]] = {}
    for path, module in network.named_modules():
        if isinstance(module, BasicBlock | Bottleneck | _ResidualBlock):
            stages.setdefault(path.rpartition(".")[0], []).append(f"{path}.conv1")
        elif (
            isinstance(module, InvertedResidual)
            and module.use_res_connect
            and len(module.conv) == _EXPANDS
        ):
            stages.setdefault("", []).append(f"{path}.conv.0.0")
    every = 2 if max(map(len, stages.values())) >= _MANY_BLOCKS else 1
    return [path for paths in stages.values() for path in paths[::every]]


def _blocks(network: nn.Module) -> list[tuple[str, str]]:
    """Return the paths of the first two convolutions of all residual blocks that have two."""
    from torchvision.models.mobilenetv2 import InvertedResidual
    from torchvision.models.resnet import BasicBlock, Bottleneck

    blocks = []
    for path, module in network.named_modules():
        if isinstance(module, BasicBlock | Bottleneck | _ResidualBlock):
            blocks.append((f"{path}.conv1", f"{path}.conv2"))
        elif isinstance(module, InvertedResidual) and len(module.conv) == _EXPANDS:
            blocks.append((f"{path}.conv.0.0", f"{path}.conv.1.0"))
    return blocks


@dataclass(frozen=True)
class _Cut:
    """The graph of one of torchvision's networks up to its last map, of that many channels.

    ``constants`` names tensors that ``forward`` made: tracing has left them on the network that it
    traced, on the device of that network, so that no other network of the name can use the graph.
    """

    graph: fx.Graph
    channels: int
    constants: tuple[str, ...] = ()


# By name, of graphs without constants: tracing a network costs more than building it.
_CUTS: dict[str, _Cut] = {}


def _cut(name: str, model: nn.Module) -> _Cut:
    from torchvision.models.feature_extraction import NodePathTracer

    own = {key for key, _ in model.named_parameters()} | {key for key, _ in model.named_buffers()}
    tracer = NodePathTracer()
    traced = fx.GraphModule(model, tracer.trace(model))
    shapes = _Shapes(traced)
    with no_grad():
        shapes.run(zeros(1, 3, _TRACE_PX, _TRACE_PX))
    maps = [
        node
        for node, shape in shapes.by_node.items()
        if len(shape) == 4
        and min(shape[2:]) > 1
        and _top(tracer.node_to_qualname.get(node, "")) not in HEADS
        and not _is_pooling(node, model)
    ]
    graph, channels = traced.graph, shapes.by_node[maps[-1]][1]
    graph.erase_node(graph.output_node())
    graph.output(maps[-1])
    graph.eliminate_dead_code()
    kept = {key for key, _ in fx.GraphModule(model, graph).named_parameters()}
    if any(key not in kept and _top(key) not in HEADS for key, _ in model.named_parameters()):
        raise EncoderError(
            f"{name} has no feature map before its pooling: choose a convolutional network or a "
            "Swin (mobilenet_v2, resnet50, swin_t)"
        )
    used = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr")
    constants = tuple(key for key in used if key not in own)
    return _Cut(copy.deepcopy(graph), channels, constants)  # a copy belongs to no network


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every node's tensor."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.by_node: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.by_node[n] = tuple(result.shape)
        return result


def _top(path: str) -> str:
    return path.split(".", 1)[0]


def _is_pooling(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), _POOLING_MODULES)
    return node.target in _POOLING_FUNCTIONS
