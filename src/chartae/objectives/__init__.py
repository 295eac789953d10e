"""Objectives: the losses that training minimises, and the players (sets of parameters) that minimise them."""

from chartae.objectives.adversarial import Adversarial
from chartae.objectives.base import Alarm, Objective, Player, needs_several
from chartae.objectives.guided import EncoderAlone, Guided
from chartae.objectives.penalised import Penalised
from chartae.objectives.predicting import Predicting
from chartae.objectives.vae_gan import VAEGAN
from chartae.objectives.wrapped import Wrapped

__all__ = [
    "VAEGAN",
    "Adversarial",
    "Alarm",
    "EncoderAlone",
    "Guided",
    "Objective",
    "Penalised",
    "Player",
    "Predicting",
    "Wrapped",
    "needs_several",
]
