"""Networks without probability: nets for vectors, images and sequences, the papers' nets, spectral normalisation.

Every net maps a batch `(B, *shape_in)` to `(B, *shape_out)`. `encoder` and `decoder` build one by name; `NETS` lists
the names.
"""

from chartae.nn.bodies import MLP, ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from chartae.nn.conditioned import ConditionedDecoder, ConditionedEncoder
from chartae.nn.critics import Critic, Translator, pair_critic, translator
from chartae.nn.denoisers import (
    HiddenLayer,
    NoiseConvDecoder,
    NoiseDecoder,
    NoiseEncoder,
    SkipDecoder,
    SkipEncoder,
    TiedDecoder,
)
from chartae.nn.factory import NETS, critic, decoder, encoder
from chartae.nn.layers import ACTIVATIONS, BATCH_NORMS, DROPOUTS, Conv2d, Linear, draws_itself, spectral
from chartae.nn.papers import PaperDecoder, PaperEncoder
from chartae.nn.sequences import (
    SEQUENCE_NETS,
    SequenceDecoder,
    sequence_decoder,
    sequence_encoder,
)

__all__ = [
    "ACTIVATIONS",
    "BATCH_NORMS",
    "DROPOUTS",
    "MLP",
    "NETS",
    "SEQUENCE_NETS",
    "ConditionedDecoder",
    "ConditionedEncoder",
    "Conv2d",
    "ConvDecoder",
    "ConvEncoder",
    "Critic",
    "HiddenLayer",
    "Linear",
    "NoiseConvDecoder",
    "NoiseDecoder",
    "NoiseEncoder",
    "PaperDecoder",
    "PaperEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "SequenceDecoder",
    "SkipDecoder",
    "SkipEncoder",
    "TiedDecoder",
    "Translator",
    "critic",
    "decoder",
    "draws_itself",
    "encoder",
    "pair_critic",
    "sequence_decoder",
    "sequence_encoder",
    "spectral",
    "translator",
]
