"""Functions of tensors and the random numbers that they use, without modules and without other parts of chartae."""

from chartae.maths.critics import (
    LOSSES,
    CriticLoss,
    critic_loss,
    gradient_penalty,
    logistic_loss,
    logits_of,
    loss_of,
    penalised_logits,
)
from chartae.maths.frechet import (
    covariance_factor,
    frechet_distance,
    frechet_from_factors,
    frechet_from_features,
    mean_and_factor,
)
from chartae.maths.jacobians import (
    ScoreFunction,
    column_gram,
    hadamard_gap,
    jacobian,
    jacobian_norm,
    jacobian_norm_by_rows,
    jacobian_norm_hutchinson,
    jacobian_of,
    one_hidden_jacobian_norm,
    output_energy_gradient,
    random_signs,
)
from chartae.maths.kernels import energy_distance, info_nce, mmd, sliced_wasserstein, squared_distances
from chartae.maths.paths import denoising_score_matching, implicit_score_matching, log_ratio
from chartae.maths.rows import as_float, nearest, sample_rows, total_variance

__all__ = [
    "LOSSES",
    "CriticLoss",
    "ScoreFunction",
    "as_float",
    "column_gram",
    "covariance_factor",
    "critic_loss",
    "denoising_score_matching",
    "energy_distance",
    "frechet_distance",
    "frechet_from_factors",
    "frechet_from_features",
    "gradient_penalty",
    "hadamard_gap",
    "implicit_score_matching",
    "info_nce",
    "jacobian",
    "jacobian_norm",
    "jacobian_norm_by_rows",
    "jacobian_norm_hutchinson",
    "jacobian_of",
    "log_ratio",
    "logistic_loss",
    "logits_of",
    "loss_of",
    "mean_and_factor",
    "mmd",
    "nearest",
    "one_hidden_jacobian_norm",
    "output_energy_gradient",
    "penalised_logits",
    "random_signs",
    "sample_rows",
    "sliced_wasserstein",
    "squared_distances",
    "total_variance",
]
