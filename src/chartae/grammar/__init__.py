"""Context-free grammars as codecs between strings and leftmost derivations, and decoding under their masks.

::

    g = load("zinc-smiles")
    ids = g.encode(["CCO"])  # Derivations: production numbers, ragged, uint8
    g.decode(ids)  # ["CCO"]
    StackDecoder(g, semantics=Molecules())(logits)  # (B, T, P) logits to derivations, all of them complete
"""

from chartae.grammar.aromatic import repair
from chartae.grammar.auditing import Audit, audit
from chartae.grammar.builtin import MOLECULES, NAMES, load
from chartae.grammar.cfg import Grammar
from chartae.grammar.chemistry import Molecules
from chartae.grammar.codecs import SMILES_TOKENS, Characters, Selfies, Tokens
from chartae.grammar.decoding import Decoded, StackDecoder
from chartae.grammar.derivations import Codec, Derivations
from chartae.grammar.productions import Production, Terminal
from chartae.grammar.saving import CODECS, codec_for, described, needed, restored

__all__ = [
    "CODECS",
    "MOLECULES",
    "NAMES",
    "SMILES_TOKENS",
    "Audit",
    "Characters",
    "Codec",
    "Decoded",
    "Derivations",
    "Grammar",
    "Molecules",
    "Production",
    "Selfies",
    "StackDecoder",
    "Terminal",
    "Tokens",
    "audit",
    "codec_for",
    "described",
    "load",
    "needed",
    "repair",
    "restored",
]
