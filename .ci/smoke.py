"""Build the wheel, install it by itself, and try the installed copy.

`.ci/run` runs this with the environment's Python, which has what focusgym requires; nothing of the
repository but what is tried stands before the wheel's content on the path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import import_module, resources
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
ROOMS = ("recognizer", "feature_cache", "envs", "agents", "runs")


def main() -> None:
    """Build an sdist and from it the wheel, install that into a folder, and try it there."""
    with TemporaryDirectory() as folder:
        dist, site = Path(folder, "dist"), Path(folder, "site")
        _python("-m", "build", "--outdir", dist, ROOT, stdout=subprocess.DEVNULL)
        (wheel,) = dist.glob("*.whl")
        _check_content(wheel)
        pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps")
        _python(*pip, "--target", site, wheel)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (site, ROOT / "tests")))}
        _python(__file__, site, cwd=folder, env=environment)
    print("the wheel is complete, and its installed copy works")


def _check_content(wheel: Path) -> None:
    """Compare the wheel's files with those of the repository."""
    expected = {f"focusgym/{name}" for name in ("__init__.py", "py.typed")}
    for room in ROOMS:
        files = (path.relative_to(ROOT) for path in (ROOT / room).rglob("*.*") if path.is_file())
        expected |= {f"focusgym/{f.as_posix()}" for f in files if f.suffix != ".pyc"}
    wheel_files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert wheel_files == expected, (
        f"the wheel and the repository differ in {sorted(wheel_files ^ expected)}"
    )


def try_installed(site: Path) -> None:
    """Import all of it, find what is no code, run the command, make an environment and step it."""
    import focusgym

    assert Path(str(focusgym.__file__)).is_relative_to(site), focusgym.__file__
    for module in walk_packages(focusgym.__path__, "focusgym."):
        import_module(module.name)
    for package, name in (
        ("", "py.typed"),
        (".runs.pages", "base.html"),
        (".envs", "__init__.pyi"),
    ):
        assert resources.files(f"focusgym{package}").joinpath(name).is_file(), name

    from focusgym.runs.options.presets import preset_names, read_preset

    assert all(read_preset(name) for name in preset_names())
    command = site / "bin" / "focusgym" if os.name == "posix" else site / "Scripts" / "focusgym.exe"
    version = subprocess.check_output([command, "--version"], text=True)
    assert version == f"focusgym {focusgym.__version__}\n", version
    assert "quickstart" in subprocess.check_output([command, "--help"], text=True)

    import gymnasium
    from support import C, G, L, write_cache  # of the tests: random features

    from focusgym.recognizer import ClassifierConfig, GruClassifier, write_bundle

    cache = write_cache(Path("cache"))
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()
    write_bundle(Path("classifier"), "classifier", classifier.config, classifier, cache.fingerprint)
    env = gymnasium.make("focusgym/AdaFocus-v0", cache="cache", classifier="classifier")
    env.reset(seed=0)
    assert not env.step(env.action_space.sample())[2]


def _python(*args: str | Path, **how: Any) -> None:
    subprocess.run([sys.executable, *map(str, args)], check=True, **how)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        try_installed(Path(sys.argv[1]))
    else:
        main()
