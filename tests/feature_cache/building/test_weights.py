"""Weights from files, from torchvision and at random; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from focusgym.feature_cache import make_encoder, read_state_dict
from focusgym.recognizer import Encoder, EncoderConfig, WeightsError, load_weights

SHUFFLENET = EncoderConfig("shufflenet_v2_x0_5")
IMAGES = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64).mul(7919).remainder(256).byte()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    model: Any = torchvision.models.shufflenet_v2_x0_5(weights=None)
    return dict(model.state_dict())


def same(encoder: Encoder, state: dict[str, Tensor]) -> bool:
    own = encoder.trunk.state_dict()
    return not encoder.training and all(torch.equal(own[key], state[key]) for key in own)


def test_files_of_all_kinds_and_wrappings_load(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "plain.pth")
    save_file(state, tmp_path / "plain.safetensors")
    parallel = {f"module.{name}": value for name, value in state.items()}
    others = {name: value + 1 for name, value in parallel.items() if value.is_floating_point()}
    wrapped: dict[str, dict[str, Any]] = {
        "a.pt": {"epoch": 3, "state_dict": parallel},
        "b.tar": {"model": state, "optimizer": {}},
        "c.pth": {"model_state_dict": parallel, "optimizer_state_dict": {"state": {0: {}}}},
        "d.pth": {"net": parallel, "acc": 93.1, "epoch": 7},
        "e.pth": {"any_name": state},
        "f.pth": {"model_ema": others, "model": parallel},
    }
    for name, content in wrapped.items():
        torch.save(content, tmp_path / name)
    for name in ("plain.pth", "plain.safetensors", *wrapped):
        assert same(make_encoder(SHUFFLENET, str(tmp_path / name)), state), name
    torch.save({"student": state, "teacher": others, "epoch": 1}, tmp_path / "two.pth")
    with pytest.raises(WeightsError, match=r"holds several state dicts \(student, teacher\): save"):
        read_state_dict(tmp_path / "two.pth")


def test_files_that_are_damaged_are_refused_in_words(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    """No keys of pickle's memory, such as a plain 101, and nothing of C++."""
    path = tmp_path / "w.pth"
    torch.save(state, path)
    intact = path.read_bytes()
    for content, why in (
        (b"hello, this is text", "it is no file that torch wrote"),
        (b"", "it is no file that torch wrote"),
        (intact[: len(intact) // 2], "it is cut short or damaged, or holds more than tensors"),
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            read_state_dict(path)
        assert f"{path} is not a state dict that can be loaded safely ({why}" in str(caught.value)
    path = path.rename(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="cut short, or no safetensors file"):
        read_state_dict(path)


def test_random_weights_are_drawn_from_seed_0_and_leave_torchs_generator() -> None:
    for config in (SHUFFLENET, EncoderConfig("small_local", input_px=8)):
        before = torch.get_rng_state()
        one, two = make_encoder(config, "random"), make_encoder(config, "random")
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(0)
        expected = Encoder(config)
        assert same(one, dict(expected.trunk.state_dict()))
        assert same(two, dict(expected.trunk.state_dict()))
        assert one.config == config


def test_torchvisions_weights_are_downloaded_by_name(
    state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[tuple[str, dict[str, Any]]] = []

    def download(url: str, **options: Any) -> dict[str, Tensor]:
        downloads.append((url, options))
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    for name in ("default", "DEFAULT", "IMAGENET1K_V1"):
        assert same(make_encoder(SHUFFLENET, name), state)
    assert len(downloads) == 3
    for url, options in downloads:
        assert url.startswith("https://download.pytorch.org/models/shufflenetv2_x0.5")
        assert options["weights_only"]
        assert options["check_hash"]

    def fail(url: str, **options: Any) -> dict[str, Tensor]:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    text = (
        r"torchvision's weights IMAGENET1K_V1 of shufflenet_v2_x0_5 cannot be had \(.*no route.*\):"
        " give a .pth or .safetensors file, or 'random'"
    )
    with pytest.raises(WeightsError, match=text):
        make_encoder(SHUFFLENET, "default")


def test_names_of_no_weights_are_refused(tmp_path: Path) -> None:
    ending = "give a .pth or .safetensors file, or 'random'"
    names = f"there are IMAGENET1K_V1, IMAGENET1K_V2; or {ending}"
    with pytest.raises(WeightsError, match=f"resnet50 has no torchvision weights 'V9': {names}"):
        make_encoder(EncoderConfig("resnet50"), "V9")
    with pytest.raises(WeightsError, match=f"small_local has no .* weights 'default': {ending}"):
        make_encoder(EncoderConfig("small_local"), "default")
    message = (
        r"IMAGENET1K_FEATURES of vgg16 expect inputs normalised with \[.*\] and \[.*\], encoders "
        r"normalise with \[.*\] and \[.*\]: give default, a \.pth or \.safetensors file, or"
    )
    with pytest.raises(WeightsError, match=message):
        make_encoder(EncoderConfig("vgg16"), "IMAGENET1K_FEATURES")
    missing = "give a .pth or .safetensors file, default, one of torchvision's weights, or random"
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(WeightsError, match=f"no such file {path}: {missing}"):
            make_encoder(SHUFFLENET, str(path))


class Planted:
    """Its unpickling would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    for name in ("w.pth", "w.pt", "w.safetensors"):
        torch.save({"x": Planted(tmp_path / "ran")}, tmp_path / name)
        with pytest.raises(WeightsError, match=f"{name} is not a state dict that can be loaded sa"):
            read_state_dict(tmp_path / name)
        torch.save(torch.nn.Linear(1, 1), tmp_path / name)
        with pytest.raises(WeightsError, match="saved with torch.save.model.state_dict"):
            make_encoder(SHUFFLENET, str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [([1, 2], "list"), ({0: torch.zeros(1)}, "dict"), ({"x": {"y": 1}}, "dict"), (7, "int")],
)
def test_files_that_hold_no_state_dict_are_refused(
    content: object, kind: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pth")
    text = f"holds a {kind}, expected a state dict of tensors: save model.state_dict"
    with pytest.raises(WeightsError, match=text):
        read_state_dict(tmp_path / "w.pth")


def test_weights_of_another_network_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="the weights do not fit mobilenet_v2: missing features"):
        make_encoder(EncoderConfig("mobilenet_v2"), str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "file"),
    [("mobilenet_v2", "mobilenet_v2_features.pth"), ("squeezenet1_1", "squeezenet1_1.pth")],
)
def test_real_weights_load(name: str, file: str, real_data: Path) -> None:
    path = real_data / "weights" / file
    encoder = make_encoder(EncoderConfig(name), str(path))
    network = torchvision.models.get_model(name, weights=None).eval()
    head = {key: value for key, value in network.state_dict().items() if "classifier" in key}
    network.load_state_dict(head | read_state_dict(path))
    x = (IMAGES / 255.0 - encoder.mean) / encoder.std
    with torch.no_grad():
        torch.testing.assert_close(encoder(IMAGES), network.features(x), rtol=1e-4, atol=1e-4)
    again = Encoder(EncoderConfig(name)).eval()
    load_weights(again, encoder.state_dict())
    assert same(again, dict(encoder.trunk.state_dict()))
