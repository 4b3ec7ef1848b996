"""Where units of work are done: options that verbs share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExecutorConfig:
    """Where the work is done; see docs/scale.md.

    Attributes:
        executor: local, in processes of this machine; ray, on a Ray cluster: the one that
            RAY_ADDRESS names or that runs here, else one of this machine that ends with the
            command; or ray://HOST:PORT, a cluster elsewhere, through Ray Client.
        transfer: For Ray, how a node's files come here: shared, for all have one file system;
            object-store, through Ray itself; or the URL of a folder that all reach, such as
            s3://BUCKET/FOLDER.
        retries: For Ray, how often a unit of work is begun again when its process or its node is
            lost.
        gpu_share: For Ray, how many GPUs a unit takes where --device is cuda; with 0.25 four share
            one.
    """

    executor: str = "local"
    transfer: str = "shared"
    retries: int = 3
    gpu_share: float = 1.0
