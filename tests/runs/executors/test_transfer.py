"""Folders that are carried as files: through Ray, through a folder, through S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from focusgym.runs.executors.transfer import OBJECT_STORE, Carrier
from focusgym.runs.executors.units import ExecutorError


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server,s3] is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        try:
            boto3.client("s3").create_bucket(Bucket="shards")
            yield "s3://shards/of/ours"
        finally:
            running.stop()


@pytest.fixture(params=["object-store", "file", "s3"])
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    if request.param == "s3":
        return Carrier(request.getfixturevalue("bucket"))
    return Carrier(f"file://{tmp_path}/carried" if request.param == "file" else OBJECT_STORE)


def test_a_folder_arrives_whole(carrier: Carrier, tmp_path: Path) -> None:
    """With the same bytes, at once, in place of what was there; and its archive is gone."""
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(bytes(range(256)) * 999)
    (folder / "inner" / "empty").touch()
    carrier.check()
    archive = carrier.pack(folder)
    out = tmp_path / "out"
    (out / "old").mkdir(parents=True)
    carrier.place(archive, out)
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert names == ["a", "inner", "inner/empty"]
    assert (out / "a").read_bytes() == bytes(range(256)) * 999
    if isinstance(archive, str):
        with pytest.raises(FileNotFoundError):
            carrier.unpack(archive, tmp_path / "again")


def test_a_damaged_archive_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "old").mkdir(parents=True)
    with pytest.raises(ExecutorError, match=r"of a unit came damaged \(.*\): run the same command"):
        Carrier(OBJECT_STORE).place(b"this is no tar file", out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "old").is_dir()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match=r"--transfer file://.*/file: nothing can be written"):
        Carrier(f"file://{tmp_path}/file").check()
