"""Parts of ``benchmarks/gpu.py``: fitting, tables that do not fit, Ray, and tests of a GPU."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from environment import ENV
from rows import Row, row, seconds
from synthetic import T
from torch.utils.flop_counter import FlopCounterMode

from focusgym.agents import PRESETS, FocusPPO
from focusgym.envs import make_sb3
from focusgym.feature_cache import FeatureCache, video_table
from focusgym.feature_cache.building.encode import config_of
from focusgym.recognizer import Encoder, devices, read_classifier
from focusgym.runs.configs.executor import ExecutorConfig
from focusgym.runs.configs.fit import FitClassifierConfig, HeadConfig
from focusgym.runs.configs.stages import TrainingConfig
from focusgym.runs.executors.caches import build_apart
from focusgym.runs.executors.ray import RayExecutor
from focusgym.runs.training.stage_run import fit_classifier

TESTS = (
    "recognizer/accounting/test_compute.py::test_networks_on_cuda_are_counted_on_a_copy",
    "recognizer/pipeline/test_adaptive.py::test_on_cuda_it_is_the_same",
    "recognizer/pipeline/test_recognizer_bundle.py::test_a_bundle_is_read_to_cuda",
    "recognizer/test_devices.py::test_on_cuda_all_arrives",
    "runs/options/test_devices.py::test_a_gpu_gives_the_same_figures",
)
# What agreement may be at worst: float32 in another order, float16 in what is stored, and for tf32
# and bfloat16 their own rounding. Of choices it is the smallest share that may be the same.
AT_MOST = {
    "gpu_features_apart": 2e-3,
    "gpu_logits_apart": 1e-2,
    "gpu_encode_tf32_apart": 0.05,  # an eighth of the next one, as 10 bits of mantissa to 7
    "gpu_encode_bfloat16_apart": 0.4,  # of noise; 0.18 at small sizes on a CPU
    "gpu_sent_apart": 0.5,  # of what changes in training, where rounding may change an action
    "gpu_sent_maps_apart": 0.0,
    "gpu_ray_apart": 2e-3,
    "gpu_ray_decoders_apart": 2e-3,
}
AT_LEAST = {"gpu_same_patches": 0.9}


def out_of_bounds(table: Mapping[str, Row]) -> list[str]:
    """Return what does not agree, one sentence each."""
    problems = [
        f"{key} is {table[key]['value']:.3g}, and may be at most {bound:g}"
        for key, bound in AT_MOST.items()
        if key in table and not float(table[key]["value"]) <= bound
    ]
    return problems + [
        f"{key} is {table[key]['value']:.3g}, and must be at least {bound:g}"
        for key, bound in AT_LEAST.items()
        if key in table and not float(table[key]["value"]) >= bound
    ]


def shares(table: Mapping[str, Row]) -> dict[str, Row]:
    """Return which share of the card's rate in its precision each rate of multiply-adds is."""
    share_rows: dict[str, Row] = {}
    for key, each in table.items():
        if each["unit"] != "GMAC/s" or key.startswith("gpu_product"):
            continue
        precision = next((name for name in ("tf32", "bfloat16") if name in key), "float32")
        best = f"gpu_product_{precision}"
        if best in table:
            share = float(each["value"]) / float(table[best]["value"])
            share_rows[f"{key.removesuffix('_rate')}_share"] = row([share], "", f"of {best}")
    return share_rows


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return how far arrays are from each other, over their size, both root mean squares."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)))


def _weights(network: torch.nn.Module) -> np.ndarray:
    return np.concatenate([each.detach().float().cpu().ravel() for each in network.parameters()])


def training_gmacs(paths: Mapping[str, str], n_envs: int = 4) -> float:
    """Return how many GMAC a step of training takes, its share of updates included.

    Counted on a CPU, where torch sees the products in which a GRU consists.
    """
    env = make_sb3(ENV, n_envs, **paths, observation="index")
    model = FocusPPO("GruPolicy", env, **PRESETS["paper"].keywords(T), seed=0, device="cpu")

    def added(_: object, a: Sequence[int], b: Sequence[int], **__: object) -> int:
        return 2 * a[0] * a[1] * b[1]

    also = {torch.ops.aten.addmm_: added}  # of a gradient; what torch itself does not count
    with FlopCounterMode(display=False, custom_mapping=also) as counter:
        model.learn(model.n_steps * n_envs)
    return counter.get_total_flops() / 2e9 / (model.n_steps * n_envs)


def fitting(out: Path, root: Path, device: torch.device, hidden: int) -> dict[str, Row]:
    """Fit f_C on the device, to which the next batch is sent while one is computed on."""
    place, epochs = out / "fit", 4

    def fit() -> None:
        shutil.rmtree(place, ignore_errors=True)
        training = TrainingConfig(epochs=epochs, batch_size=16, lr_classifier=0.01)
        fit_classifier(FitClassifierConfig(place, root, training, HeadConfig(hidden)), device)

    taken = seconds(fit, device, 1)
    cache = FeatureCache.open(root)
    if not np.isfinite(_weights(read_classifier(place, cache.fingerprint, cache.root))).all():
        raise RuntimeError("weights are not finite")
    n = epochs * len(cache.split("train"))
    how = f"f_C of {hidden} units, {epochs} epochs, with what begins and ends them"
    return {"gpu_fit_videos_per_second": row([n / s for s in taken], "1/s", how)}


def sending(paths: Mapping[str, str], device: torch.device, n_envs: int) -> dict[str, Row]:
    """Train with tables on the device, and with none, as where they do not fit."""
    before, trainings = devices.RESIDENT, []
    rows = np.arange(8)
    try:
        for share in (before, 0.0):
            devices.RESIDENT = share
            env = make_sb3(ENV, n_envs, **paths, observation="index", device=f"{device}")
            keywords = PRESETS["paper"].keywords(T)
            model = FocusPPO("GruPolicy", env, **keywords, seed=0, device=device)
            steps = model.n_steps * n_envs
            at_first = _weights(model.policy)
            model.learn(steps)
            change = _weights(model.policy) - at_first
            taken = seconds(lambda m=model, s=steps: m.learn(s, reset_num_timesteps=False), device)
            maps = FeatureCache.open(paths["cache"], device=f"{device}").glance_maps(rows)
            trainings.append((change, maps.float().cpu().numpy(), [steps / s for s in taken]))
    finally:
        devices.RESIDENT = before
    (ours, maps, _), (sent, sent_maps, rate) = trainings
    how = f"FocusPPO, paper's sizes, {n_envs} episodes; nothing stays on the device"
    return {
        f"gpu_sent_train_steps_per_second_{n_envs}": row(rate, "1/s", how),
        "gpu_sent_apart": row([_apart(sent, ours)], "", f"what an iteration changes; {how}"),
        "gpu_sent_maps_apart": row([_apart(sent_maps, maps)], "", f"glance maps; {how}"),
    }


def on_ray(
    out: Path, few: FeatureCache, paths: list[str], encoders: Mapping[str, Encoder]
) -> dict[str, Row]:
    """Build a small cache as two units of Ray that share the GPU, and beside decoding tasks."""
    if find_spec("ray") is None:
        print('Ray is left out: `pip install ".[ray]"` in the clone of focusgym')
        return {}
    config, n = config_of(few.manifest), len(paths)
    table: dict[str, Row] = {}
    is_gpu = config.device != "cpu"
    for name, decoders in (("ray", None), *([("ray_decoders", 2)] if is_gpu else [])):
        root = out / name
        shutil.rmtree(root, ignore_errors=True)
        videos = video_table(paths, [i % 10 for i in range(n)], splits(n))
        where = ExecutorConfig("ray", gpu_share=0.5)
        with RayExecutor(where, root, None, is_gpu, decoders is not None) as do:
            build_apart(
                do,
                videos,
                [str(i) for i in range(10)],
                root,
                copy.deepcopy(dict(encoders)),
                config,
                shards=2,
                videos_root=Path(paths[0]).parent,
                decoders=decoders,
            )
        rows = np.arange(n)
        ours, theirs = (
            each.glance_maps(rows).float().cpu().numpy() for each in (FeatureCache.open(root), few)
        )
        how = f"glance maps of {n} videos built in two units, from those of one build"
        table[f"gpu_{name}_apart"] = row([_apart(ours, theirs)], "", how)
    return table


def splits(n: int) -> list[str]:
    """Return the splits of so many videos: the last one is for val."""
    return ["train"] * (n - 1) + ["val"]


def run_tests() -> None:
    """Run the tests that are skipped without a GPU.

    Raises:
        RuntimeError: If one fails.
    """
    root = Path(__file__).parents[1]
    words = ["-m", "pytest", "-q", "-n", "0", *(f"tests/{each}" for each in TESTS)]
    if subprocess.run([sys.executable, *words], cwd=root).returncode:
        raise RuntimeError("a test of a GPU failed")
