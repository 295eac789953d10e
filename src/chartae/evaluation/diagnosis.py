"""The types of a diagnosis, as `diagnose.json` stores it; None stands for a number that is not finite."""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = ["CodeFacts", "Diagnosis", "GeometryFacts", "Recovery"]


class GeometryFacts(TypedDict):
    """The decoder's Jacobian at test codes.

    Attributes:
        singular_values: singular values (D,), descending, averaged over points.
        condition: median condition number, the largest singular value over the smallest.
        contrast: mean IMA contrast in nats, over the points where it is finite.
        contrast_median: median IMA contrast in nats.
        infinite: fraction of points where the contrast is infinite.
        lengths: lengths of the columns (D,), averaged over points.
        untrained_contrast: mean IMA contrast of the same decoder before training.
    """

    singular_values: list[float]
    condition: float | None
    contrast: float | None
    contrast_median: float | None
    infinite: float
    lengths: list[float]
    untrained_contrast: float | None


class CodeFacts(TypedDict):
    """Use of the code dimensions.

    Attributes:
        active: whether each dimension is active.
        kl: KL of each dimension to the prior, in nats, for an encoder with a variance.
        variance: variance of each dimension over the data, for a deterministic encoder.
    """

    active: list[bool]
    kl: NotRequired[list[float]]
    variance: NotRequired[list[float]]


class Recovery(TypedDict):
    """How well known factors, or a target, are recovered from the code.

    Attributes:
        factors: names of the factors.
        affine_r2: factor -> R² of the best affine function of the code.
        mcc: mean correlation coefficient between factors and matched code dimensions.
        chance: MCC at chance level.
        rotation: MCC for a random rotation of the factors.
        matching: factor -> its code dimension.
    """

    factors: list[str]
    affine_r2: dict[str, float]
    mcc: NotRequired[float]
    chance: NotRequired[float]
    rotation: NotRequired[float]
    matching: NotRequired[dict[str, int]]


class Diagnosis(TypedDict):
    """The results of `diagnose`, as `diagnose.json` stores them.

    Attributes:
        recipe: name of the recipe.
        data: name of the data set.
        points: number of test points.
        geometry: the decoder's Jacobian, if the decoder is differentiable.
        columns: mean absolute cosines (D, D) between the Jacobian's columns, if the decoder is differentiable.
        codes: use of the code dimensions.
        consistency: for an encoder with a variance, ``code`` and ``reconstruction``, mean distances, and
            ``variance_over_predicted``; otherwise ``code_relative``, the distance that codes move when they are
            decoded and encoded again, relative to their spread.
        recovery: recovery of factors or a target, if the data have any.
        warnings: warnings, in words.
    """

    recipe: str
    data: str
    points: int
    geometry: NotRequired[GeometryFacts]
    columns: NotRequired[list[list[float]]]
    codes: CodeFacts
    consistency: dict[str, float | None]
    recovery: NotRequired[Recovery]
    warnings: list[str]
