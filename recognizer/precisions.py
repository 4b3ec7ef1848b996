"""In which precision encoders compute and features are stored; imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

# Trainings and recognizers: all but float32 by torch's autocast.
Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Builds of caches, whose encoders may also round the factors of products as GPUs do.
BuildPrecision = Literal["float32", "tf32", "bfloat16"]
BUILD_PRECISIONS: tuple[BuildPrecision, ...] = get_args(BuildPrecision)
# Features of a cache, and of a recognizer, which rounds as the cache did.
FeatureDtype = Literal["float16", "float32"]
FEATURE_DTYPES: tuple[FeatureDtype, ...] = get_args(FeatureDtype)
