"""Context-free grammars as codecs: strings to leftmost derivations and back, masks, stacks, and what a data set loses.

g = load("zinc-smiles")
ids = g.encode(["CCO"])         # Derivations: production numbers, ragged, uint8
g.decode(ids)                   # ["CCO"]
"""

from chartae.grammar.builtin import NAMES, load
from chartae.grammar.cfg import Grammar
from chartae.grammar.derivations import Codec, Derivations
from chartae.grammar.productions import Production, Terminal

__all__ = ["NAMES", "Codec", "Derivations", "Grammar", "Production", "Terminal", "load"]
