"""Built-in grammars, loaded by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from chartae.grammar.cfg import Grammar
from chartae.records.choices import one_of

__all__ = ["MOLECULES", "NAMES", "SUMMARIES", "UnknownGrammar", "load"]

# The productions of the experiments of Kusner, Paige, Hernández-Lobato, 2017, arXiv:1703.01925, in their order, which
# gives them their numbers. As in the paper, "class" has no production, and + * / share one precedence.
_EXPRESSIONS = """
S -> S '+' T | S '*' T | S '/' T | T
T -> '(' S ')' | 'sin(' S ')' | 'exp(' S ')' | 'x' | '1' | '2' | '3'
"""

_ZINC = r"""
smiles -> chain
atom -> bracket_atom | aliphatic_organic | aromatic_organic
aliphatic_organic -> 'B' | 'C' | 'N' | 'O' | 'S' | 'P' | 'F' | 'I' | 'Cl' | 'Br'
aromatic_organic -> 'c' | 'n' | 'o' | 's'
bracket_atom -> '[' BAI ']'
BAI -> isotope symbol BAC | symbol BAC | isotope symbol | symbol
BAC -> chiral BAH | BAH | chiral
BAH -> hcount BACH | BACH | hcount
BACH -> charge class | charge | class
symbol -> aliphatic_organic | aromatic_organic
isotope -> DIGIT | DIGIT DIGIT | DIGIT DIGIT DIGIT
DIGIT -> '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8'
chiral -> '@' | '@@'
hcount -> 'H' | 'H' DIGIT
charge -> '-' | '-' DIGIT | '-' DIGIT DIGIT | '+' | '+' DIGIT | '+' DIGIT DIGIT
bond -> '-' | '=' | '#' | '/' | '\'
ringbond -> DIGIT | bond DIGIT
branched_atom -> atom | atom RB | atom BB | atom RB BB
RB -> RB ringbond | ringbond
BB -> BB branch | branch
branch -> '(' chain ')' | '(' bond chain ')'
chain -> branched_atom | chain branched_atom | chain bond branched_atom
"""

# After the OpenSMILES specification 1.0 (2016), http://opensmiles.org/opensmiles.html, with left-recursive lists. The
# deprecated charges "--" and "++" are kept. A string ends before any whitespace.
_ELEMENTS = [
    "H",
    "He",
    "Li",
    "Be",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Ne",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "Cl",
    "Ar",
    "K",
    "Ca",
    "Sc",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Ga",
    "Ge",
    "As",
    "Se",
    "Br",
    "Kr",
    "Rb",
    "Sr",
    "Y",
    "Zr",
    "Nb",
    "Mo",
    "Tc",
    "Ru",
    "Rh",
    "Pd",
    "Ag",
    "Cd",
    "In",
    "Sn",
    "Sb",
    "Te",
    "I",
    "Xe",
    "Cs",
    "Ba",
    "Hf",
    "Ta",
    "W",
    "Re",
    "Os",
    "Ir",
    "Pt",
    "Au",
    "Hg",
    "Tl",
    "Pb",
    "Bi",
    "Po",
    "At",
    "Rn",
    "Fr",
    "Ra",
    "Rf",
    "Db",
    "Sg",
    "Bh",
    "Hs",
    "Mt",
    "Ds",
    "Rg",
    "Cn",
    "Fl",
    "Lv",
    "La",
    "Ce",
    "Pr",
    "Nd",
    "Pm",
    "Sm",
    "Eu",
    "Gd",
    "Tb",
    "Dy",
    "Ho",
    "Er",
    "Tm",
    "Yb",
    "Lu",
    "Ac",
    "Th",
    "Pa",
    "U",
    "Np",
    "Pu",
    "Am",
    "Cm",
    "Bk",
    "Cf",
    "Es",
    "Fm",
    "Md",
    "No",
    "Lr",
    "b",
    "c",
    "n",
    "o",
    "p",
    "s",
    "se",
    "as",
    "*",
]

_SMILES = (
    r"""
smiles = chain ;
chain = branched_atom | chain branched_atom | chain bond branched_atom | chain '.' branched_atom ;
branched_atom = atom {ringbond} {branch} ;
ringbond = [bond] (digit | '%' digit digit) ;
branch = '(' [bond | '.'] chain ')' ;
bond = '-' | '=' | '#' | '$' | ':' | '/' | '\' ;
atom = 'B' | 'C' | 'N' | 'O' | 'P' | 'S' | 'F' | 'Cl' | 'Br' | 'I' | 'b' | 'c' | 'n' | 'o' | 'p' | 's' | '*' | bracket ;
bracket = '[' [number] symbol [chiral] ['H' [digit]] [charge] [':' number] ']' ;
chiral = '@' | '@@' | '@TH' digit | '@AL' digit | '@SP' digit | '@TB' digit [digit] | '@OH' digit [digit] ;
charge = '+' [digit [digit]] | '-' [digit [digit]] | '++' | '--' ;
number = digit | number digit ;
digit = '0'..'9' ;
symbol = """
    + " | ".join(f"'{e}'" for e in _ELEMENTS)
    + " ;"
)

_ARITHMETIC = """
sum -> sum '+' product | sum '-' product | product
product -> product '*' factor | product '/' factor | factor
factor -> '-' factor | power
power -> value '^' factor | value
value -> '(' sum ')' | function '(' sum ')' | 'x' | 'y' | 'z' | number
function -> 'sin' | 'cos' | 'exp' | 'log' | 'sqrt'
number -> digits | digits '.' digits
digits -> digit | digits digit
digit -> '0' | '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8' | '9'
"""

# RNA secondary structures in dot-bracket notation, without pseudoknots. A base pair encloses another pair or at least
# three unpaired bases (Waterman, "Secondary structure of single-stranded nucleic acids", 1978).
_RNA = """
structure -> unpaired | paired
unpaired -> '.' | unpaired '.'
paired -> pair | unpaired pair | paired '.' | paired pair
pair -> '(' loop ')'
loop -> hairpin | paired
hairpin -> '.' '.' '.' | hairpin '.'
"""

_BUILT: dict[str, Callable[[], Grammar]] = {
    "zinc-smiles": lambda: Grammar(_ZINC, name="zinc-smiles", useless="mask"),
    "expressions": lambda: Grammar(_EXPRESSIONS, name="expressions", ignore=" "),
    "smiles": lambda: Grammar(_SMILES, name="smiles"),
    "arithmetic": lambda: Grammar(_ARITHMETIC, name="arithmetic", ignore=" "),
    "rna": lambda: Grammar(_RNA, name="rna"),
}


class UnknownGrammar(ValueError):
    """Neither the name of a built-in grammar nor a file."""


#: names of the built-in grammars, for `load`
NAMES: tuple[str, ...] = tuple(_BUILT)
#: values of `Codec.language` for codecs whose strings are molecules
MOLECULES = frozenset({"molecules", "smiles", "zinc-smiles"})


@cache
def _built(name: str) -> Grammar:
    return _BUILT[name]()


def load(name_or_path: str | os.PathLike[str], start: str | None = None) -> Grammar:
    """Load a grammar by name, or from a file.

    The built-in grammars are:

    * ``zinc-smiles``: 76 productions, the grammar of SMILES of "Grammar variational autoencoder" (Kusner, Paige,
      Hernández-Lobato, 2017, arXiv:1703.01925), numbered as there; drug-like molecules with up to eight open rings;
    * ``expressions``: 12 productions, the grammar of expressions in x of the same paper; spaces are ignored;
    * ``smiles``: SMILES after OpenSMILES: all elements, isotopes, charges, classes, dots, ring numbers up to 99;
    * ``arithmetic``: ``+ - * / ^``, numbers, functions and variables x, y, z with the usual precedence; spaces are
      ignored;
    * ``rna``: RNA secondary structures in dot-bracket notation, with hairpins of three bases or more.

    Args:
        name_or_path: name of a built-in grammar, or path of a grammar file. A file ending in ``.lark`` is read by lark
            (``chartae[grammar]``); any other file is read as a production list or EBNF.
        start: start symbol of a grammar from a file. By default it is the left side of the first production, or the
            rule ``start`` of a ``.lark`` file that has one. Not for built-in grammars.

    Returns:
        The grammar. A built-in grammar is built once; later calls return the same object.

    Raises:
        ValueError: no grammar or file has this name, the file holds no valid grammar, or `start` is given for a
            built-in grammar.
        ImportError: the file ends in ``.lark``, and lark is not installed.

    >>> from chartae.grammar import load
    >>> load("zinc-smiles")
    Grammar('zinc-smiles': 76 productions (1 padding), 23 nonterminals, 35 terminals, start smiles)
    """
    name = os.fspath(name_or_path)
    if name in _BUILT:
        if start is not None:
            raise ValueError(
                f"start is {start!r}; expected None, because the built-in grammar {name!r} has a start symbol."
                " Leave it out."
            )
        return _built(name)
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix == ".lark":
            return Grammar.from_lark(path, start)
        try:
            return Grammar(path.read_text(encoding="utf-8"), start, name=path.stem)
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from e
    raise UnknownGrammar(f"grammar is {name!r}; {one_of(name, NAMES, also='a grammar file (.lark, or text)')}")


#: name of a built-in grammar -> one line about it
SUMMARIES = {
    "zinc-smiles": "molecules of ZINC as SMILES, the grammar of the grammar VAE's paper",
    "expressions": "arithmetic expressions of x with sin and exp, the grammar of the grammar VAE's paper",
    "smiles": "molecules as SMILES, nearly all of the language",
    "arithmetic": "arithmetic expressions with precedence, numbers and functions",
    "rna": "RNA sequences with their secondary structure",
}
