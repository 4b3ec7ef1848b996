from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional

from focusgym.recognizer import PatchGrid, WholeFrame, read_places


@pytest.mark.parametrize("side_px", [1, 7, 8, 20, 32])
def test_the_frame_is_averaged_by_area(side_px: int) -> None:
    """Where S is a multiple of the side, mean blocks; else torch's area interpolation."""
    places = WholeFrame(32, side_px)
    frames = torch.randn(3, 3, 32, 32)
    crops = places.crop(frames, torch.zeros(3, dtype=torch.int64))
    assert crops.shape == (3, 3, side_px, side_px)
    torch.testing.assert_close(crops, functional.interpolate(frames, size=side_px, mode="area"))
    if 32 % side_px == 0:
        block = 32 // side_px
        blocks = frames.unfold(2, block, block).unfold(3, block, block)
        torch.testing.assert_close(crops, blocks.mean((4, 5)))
    assert torch.equal(places.crop_all(frames)[:, 0], crops)


def test_it_is_one_option() -> None:
    places = WholeFrame(224, 112)
    assert (places.name, places.n_options, places.side_px) == ("full112", 1, 112)
    assert places.boxes_px.tolist() == [[0, 0, 224, 224]]
    assert places.nearest(np.zeros((2, 3, 2))).tolist() == [[0] * 3] * 2


def test_what_is_refused() -> None:
    for side_px in (0, 33):
        with pytest.raises(ValueError, match=rf"must be in 1..32 .the frame side.; got {side_px}"):
            WholeFrame(32, side_px)
    places, none = WholeFrame(32, 16), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"must be \(M, 3, 32, 32\); got \(1, 3, 16, 32\)"):
        places.crop(torch.zeros(1, 3, 16, 32), none)
    with pytest.raises(ValueError, match="of a floating dtype; got torch.uint8: normalise them"):
        places.crop(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), none)
    with pytest.raises(ValueError, match=r"options must be in \[0, 1\); got values from 1 to 1"):
        places.crop(torch.zeros(1, 3, 32, 32), none + 1)


@pytest.mark.parametrize("places", [PatchGrid(64, 28, 3), WholeFrame(64, 32)])
def test_descriptions_come_back(places: PatchGrid | WholeFrame) -> None:
    described = asdict(places)
    assert read_places(described) == places
    assert described["kind"] == {PatchGrid: "patches", WholeFrame: "full"}[type(places)]
    with pytest.raises(ValueError, match="places.speed is unknown"):
        read_places({**described, "speed": 1})
    with pytest.raises(ValueError, match="of a kind among patches, full, boxes; got 'cubes'"):
        read_places({**described, "kind": "cubes"})
