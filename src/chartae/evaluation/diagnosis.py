"""What a diagnosis says, as `diagnose.json` holds it; None stands for what is not finite."""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = ["CodeFacts", "Diagnosis", "GeometryFacts", "Recovery"]


class GeometryFacts(TypedDict):
    """The decoder's Jacobian at test codes.

    Attributes:
        singular_values: (D,), descending, means over points.
        condition: median of the largest singular value over the smallest.
        contrast, contrast_median: the IMA contrast in nats, over points where it is finite, and the median.
        infinite: the share of points where the contrast is infinite.
        lengths: (D,), of the columns, means over points.
        untrained_contrast: the contrast of the same decoder untrained.
    """

    singular_values: list[float]
    condition: float | None
    contrast: float | None
    contrast_median: float | None
    infinite: float
    lengths: list[float]
    untrained_contrast: float | None


class CodeFacts(TypedDict):
    """Use of the code: of each dimension whether it is active, and its KL in nats, or its variance over the data."""

    active: list[bool]
    kl: NotRequired[list[float]]
    variance: NotRequired[list[float]]


class Recovery(TypedDict):
    """How well known factors, or a property, are recovered from the code.

    Attributes:
        factors: their names.
        affine_r2: R² of the best affine function of the code, by factor.
        mcc, chance, rotation: mean correlation coefficient, and its levels by chance and for a random rotation.
        matching: the code dimension of each factor.
    """

    factors: list[str]
    affine_r2: dict[str, float]
    mcc: NotRequired[float]
    chance: NotRequired[float]
    rotation: NotRequired[float]
    matching: NotRequired[dict[str, int]]


class Diagnosis(TypedDict):
    """What a run has learnt.

    Attributes:
        recipe, data: names.
        points: how many test points were looked at.
        geometry: where the decoder has a Jacobian.
        columns: (D, D), mean absolute cosines between the Jacobian's columns.
        codes: the use of the code.
        consistency: ``code`` and ``reconstruction``, mean distances, and ``variance_over_predicted``, of a posterior
            with a variance; else ``code_relative``, how far codes move when they are decoded and encoded again, as a
            share of their spread.
        recovery: where the data have factors or a target.
        warnings: what a user should know, in words.
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
