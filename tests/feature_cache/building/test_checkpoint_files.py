"""Checkpoints of others' training programs: what is read of them, what is refused and not run."""

from __future__ import annotations

import argparse
import os
import pickle
import shlex
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from focusgym.feature_cache.building.weights import read_checkpoint, read_state_dict
from focusgym.recognizer import WeightsError

ENTRIES = ("net", "fc")
WANTED = "give the file with the entries net, fc, as torch.save wrote it"


class Reduced:
    """Pickled as a call of the given function, perhaps with a state to set afterwards."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def save(content: object, path: Path, zipped: bool = True) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


@pytest.mark.parametrize("zipped", [True, False])
def test_all_that_was_noted_comes_back(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model_best.pth.tar"
    content: dict[str, Any] = {
        "net": {"module.w": torch.arange(6.0).reshape(2, 3)},
        "epoch": 3,
        "scaler": None,
        "optimizer": {"state": {0: {"momentum": torch.ones(2)}}, "lrs": [0.1, (0.2,)]},
    }
    save(content, path, zipped)
    checkpoint = read_checkpoint(str(path), ENTRIES)
    assert list(checkpoint) == list(content)
    assert torch.equal(checkpoint["net"]["module.w"], content["net"]["module.w"])
    assert checkpoint["epoch"] == 3
    assert checkpoint["scaler"] is None
    assert torch.equal(checkpoint["optimizer"]["state"][0]["momentum"], torch.ones(2))
    assert checkpoint["optimizer"]["lrs"] == [0.1, (0.2,)]


NUMBERS: list[Any] = [
    np.float64(76.5),
    np.float32(0.1),
    np.float16(2.5),
    np.int64(-7),
    np.uint8(200),
]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpys_numbers_become_pythons(module: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    allowed = torch.serialization.get_safe_globals()
    for number in [*NUMBERS, np.bool_(True), np.bool_(False)]:
        save({"acc": number}, path, zipped=False)
        pickled = path.read_bytes()
        own = np.float64(0).__reduce__()[0].__module__.encode()  # it depends on numpy's version
        assert own in pickled
        path.write_bytes(pickled.replace(own, module))
        restored = read_checkpoint(path, ENTRIES)["acc"]
        assert type(restored) is type(number.item())
        assert restored == number.item()
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


def test_a_state_dict_may_be_kept_beside_a_numpy_number(tmp_path: Path) -> None:
    save({"state_dict": {"w": torch.ones(2)}, "best": np.float64(0.5)}, tmp_path / "x.pth")
    assert list(read_state_dict(tmp_path / "x.pth")) == ["w"]


def test_numpys_own_unpickling_does_not_run(tmp_path: Path) -> None:
    scalar = np.float64(0).__reduce__()[0]
    data = np.array(1.5, ">f8").tobytes()
    # Flags that would tell numpy that these eight bytes point to an object.
    dtype = Reduced(np.dtype, ("f8", False, True), (3, ">", None, None, None, -1, -1, 63))
    save({"acc": Reduced(scalar, (dtype, data))}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth", ENTRIES) == {"acc": 1.5}
    for code in ("O", "V8", "M8", "f16"):
        dtype = Reduced(np.dtype, (code, False, True))
        save({"acc": Reduced(scalar, (dtype, data))}, tmp_path / "x.pth")
        text = rf"x.pth is not a checkpoint .*\(a numpy scalar of type '{code}', expected a number"
        with pytest.raises(WeightsError, match=text):
            read_checkpoint(tmp_path / "x.pth", ENTRIES)
    save({"acc": Reduced(scalar, (np.dtype("f8"), data[:4]))}, tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match="it is cut short or damaged, or holds more than tensors"
    ):
        read_checkpoint(tmp_path / "x.pth", ENTRIES)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_refused_is_named_and_the_copy_that_is_told_can_be_read(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "the best.pth.tar"
    content = {"net": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "epoch": 1}
    save(content, path, zipped)
    text = (
        r"the best\.pth\.tar is not a checkpoint that can be loaded safely \(it asks for "
        r"argparse\.Namespace, which was not executed\): only if you trust its origin, for this "
        r'executes it, write a clean copy and give that: python -c "import torch; '
    )
    with pytest.raises(WeightsError, match=text) as caught:
        read_checkpoint(path, ENTRIES)
    python, option, code, *arguments = shlex.split(str(caught.value).partition("give that: ")[2])
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", [option, *arguments])
    exec(code, {})
    checkpoint = read_checkpoint(tmp_path / "clean-the best.pth.tar", ENTRIES)
    assert list(checkpoint) == ["net"]
    assert torch.equal(checkpoint["net"]["w"], torch.ones(2))


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    ran, path = tmp_path / "ran", tmp_path / "x.pth.tar"
    planted = [
        (Reduced(Path.touch, (ran,)), r"\S+"),
        (Reduced(os.system, (f"touch {ran}",)), r"(posix|nt)\.system"),
        (Reduced(eval, (f"open({str(ran)!r}, 'w')",)), "eval"),
        (Reduced(np.save, (str(ran), 1)), r"numpy\.save"),
    ]
    for content, name in planted:
        message = rf"\(it asks for {name}, which was not executed\): "
        for wrapped in ({"net": {"w": torch.ones(1)}, "x": content}, {"net": {"w": content}}):
            for zipped in (True, False):
                save(wrapped, path, zipped)
                with pytest.raises(WeightsError, match=f"{message}only if you trust its origin"):
                    read_checkpoint(path, ENTRIES)
                with pytest.raises(WeightsError, match=f"{message}give weights saved with torch"):
                    read_state_dict(path)
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(path, ENTRIES)
    assert not ran.exists()
    pickle.loads(pickle.dumps(planted[1][0]))  # it is what would have run
    assert ran.exists()


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth.tar"
    for missing in (path, tmp_path):
        with pytest.raises(WeightsError, match=f"no such file {missing}: {WANTED}"):
            read_checkpoint(missing, ENTRIES)
    with tarfile.open(path, "w") as tar:  # despite the name, a .pth.tar is none
        tar.add(__file__, "pickle")
    contents = [path.read_bytes(), b"", b"\x89PNG", b"abc" * 99, pickle.dumps([1, 2], protocol=2)]
    for zipped in (True, False):
        save({"net": {"w": torch.ones(1000)}}, path, zipped)
        contents.append(path.read_bytes()[: path.stat().st_size // 2])
    for content in contents:
        path.write_bytes(content)
        text = rf"x\.pth\.tar is not a checkpoint that can be loaded safely \(.+\): {WANTED}"
        with pytest.raises(WeightsError, match=text) as caught:
            read_checkpoint(path, ENTRIES)
        for advice in ("Weights only load failed", "trusted source"):  # torch's, to execute it
            assert advice not in str(caught.value)
    for held, kind in (([1], "list"), (torch.ones(1), "Tensor"), ({0: 1}, "dict")):
        save(held, path)
        text = f"{path} holds a {kind}, expected a dictionary whose keys are names: {WANTED}"
        with pytest.raises(WeightsError, match=text):
            read_checkpoint(path, ENTRIES)
