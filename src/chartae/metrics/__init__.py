"""Metrics: arrays in, numbers out. They compare two sets, pairs of images, codes with factors; and extract features."""

from chartae.metrics import molecules
from chartae.metrics.clusters import ClusterScore, cluster_score
from chartae.metrics.expressions import evaluate_expression, expression_scores
from chartae.metrics.features import (
    NAMES,
    Extractor,
    Inception,
    LeNetFeatures,
    Pixels,
    default_for,
    extractor,
)
from chartae.metrics.images import mse, psnr, ssim, to_uint8
from chartae.metrics.recovery import DCI, MCC, UDR, affine_r2, dci, factor_vae, mcc, mig, modularity, sap, udr
from chartae.metrics.sets import Reference, frechet, kid, mmd_test, prdc
from chartae.metrics.strings import string_summary, wasserstein

__all__ = [
    "DCI",
    "MCC",
    "NAMES",
    "UDR",
    "ClusterScore",
    "Extractor",
    "Inception",
    "LeNetFeatures",
    "Pixels",
    "Reference",
    "affine_r2",
    "cluster_score",
    "dci",
    "default_for",
    "evaluate_expression",
    "expression_scores",
    "extractor",
    "factor_vae",
    "frechet",
    "kid",
    "mcc",
    "mig",
    "mmd_test",
    "modularity",
    "molecules",
    "mse",
    "prdc",
    "psnr",
    "sap",
    "ssim",
    "string_summary",
    "to_uint8",
    "udr",
    "wasserstein",
]
