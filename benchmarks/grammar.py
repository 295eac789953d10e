"""Speed of parsing and decoding with grammars, against NLTK's chart parser and the paper's loop, and validity.

python benchmarks/grammar.py --data-root FOLDER

Times are CPU seconds of one process (`time.process_time`), which depend little on other work on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write

from chartae.data import read_strings
from chartae.grammar import Grammar, Molecules, StackDecoder, earley, load, repair
from chartae.metrics import molecules

CODES = 10_000
STEPS = 277


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def parsing(g: Grammar, strings: list[str]) -> dict[str, Any]:
    g.encode(strings[:10])  # compile first
    cpu, wall, ids = timed(lambda: g.encode(strings))
    back, _, texts = timed(lambda: g.decode(ids))
    same = [s.translate({ord(c): None for c in g.ignore}) for s in strings] == texts
    return {
        "strings": len(strings),
        "seconds_cpu": round(cpu, 3),
        "seconds_wall": round(wall, 3),
        "ms_each": round(1e3 * cpu / len(strings), 5),
        "decode_seconds_cpu": round(back, 3),
        "round_trip": same,
        "megabytes": round(ids.nbytes / 1e6, 2),
    }


def chart_parser(g: Grammar, strings: list[str]) -> float:
    """Milliseconds per string of NLTK's ChartParser, with the same productions and tokens."""
    from nltk import CFG, ChartParser
    from nltk.grammar import Nonterminal, Production

    live = [p for p, used in zip(g.productions, g.masks.any(0), strict=True) if used and p.lhs != "Nothing"]
    symbol = lambda s: Nonterminal(s) if s in g.nonterminals and type(s) is str else str(s)  # noqa: E731
    productions = [Production(Nonterminal(p.lhs), [symbol(s) for s in p.rhs]) for p in live]
    parser = ChartParser(CFG(Nonterminal(g.start), productions))
    longest = sorted(g.terminals, key=len, reverse=True)

    def tokens(text: str) -> list[str]:
        parts, at = [], 0
        while at < len(text):
            parts.append(next(t for t in longest if text.startswith(t, at)))
            at += len(parts[-1])
        return parts

    tokenised = [tokens(s.translate({ord(c): None for c in g.ignore})) for s in strings]
    cpu, _, _ = timed(lambda: [next(iter(parser.parse(words))) for words in tokenised])
    return 1e3 * cpu / len(strings)


def reference(g: Grammar) -> Callable[[np.ndarray], str]:
    """The paper's sampling decoder, which decodes one string at a time: steps 1 to 4 of its algorithm."""
    masks = {a: g.masks[k].astype(float) for k, a in enumerate(g.nonterminals)}
    inner = [[s for s in p.rhs if s in masks][::-1] for p in g.productions]
    rng = np.random.default_rng(0)

    def decode(logits: np.ndarray) -> str:
        stack, taken = [g.start], []
        for t in range(len(logits)):
            top = stack.pop() if stack else "Nothing"
            weights = np.exp(logits[t]) * masks[top] + 1e-100
            p = int(np.argmax(np.log(weights) + rng.gumbel(size=len(weights))))
            taken.append(p)
            stack += inner[p]
        if stack:
            return ""
        symbols: list[str] = [g.start]
        for p in taken:
            lhs = g.productions[p].lhs
            for i, s in enumerate(symbols):
                if s == lhs and type(s) is str:
                    symbols[i : i + 1] = g.productions[p].rhs
                    break
        return "".join(symbols)

    return decode


def decoding(g: Grammar, repeats: int = 5) -> dict[str, Any]:
    logits = torch.randn(CODES, STEPS, g.size, generator=torch.Generator().manual_seed(0))
    decode, loop = StackDecoder(g, close=False), reference(g)
    decode(logits[:10], sample=True)  # compile first
    few = logits[:60].numpy()

    def strings(seed: int) -> list[str]:
        draw = torch.Generator().manual_seed(seed)
        return g.decode(decode(logits, sample=True, generator=draw).derivations(), incomplete="empty")

    ours, plain, theirs, same = [], [], [], []
    for i in range(repeats):
        fast = timed(lambda: strings(i))  # noqa: B023
        theirs.append(timed(lambda: [loop(x) for x in few])[0] / len(few))
        compiled, earley.COMPILED = earley.COMPILED, False
        try:
            batched = timed(lambda: decode(logits, sample=True, generator=torch.Generator().manual_seed(i)))  # noqa: B023
        finally:
            earley.COMPILED = compiled
        ours.append(fast[0] / CODES)
        plain.append(batched[0] / CODES)
        same.append(g.decode(batched[2].derivations(), incomplete="empty") == fast[2])
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "codes": CODES,
        "steps": STEPS,
        "loop_ms_each": round(1e3 * float(np.median(theirs)), 3),
        "ms_each": round(1e3 * float(np.median(ours)), 4),
        "ratio_median": round(float(np.median(ratios)), 1),
        "ratio_least": round(min(ratios), 1),
        "ratio_most": round(max(ratios), 1),
        "ratio_without_numba": round(float(np.median([b / a for a, b in zip(plain, theirs, strict=True)])), 1),
        "same_without_numba": all(same),
    }


def validity(g: Grammar, codes: int = 2000) -> dict[str, Any]:
    """Validity of strings decoded from random logits."""
    results: dict[str, Any] = {"codes": codes}
    for steps in (60, 120, 277):
        logits = torch.randn(codes, steps, g.size, generator=torch.Generator().manual_seed(1))
        row: dict[str, Any] = {}
        for name, decoder in {
            "cut off": StackDecoder(g, close=False),
            "closed": StackDecoder(g),
            "molecules": StackDecoder(g, semantics=Molecules()),
        }.items():
            draw = torch.Generator().manual_seed(0)
            cpu, _, out = timed(lambda: decoder(logits, sample=True, generator=draw))  # noqa: B023
            strings = g.decode(out.derivations(), incomplete="empty")
            row[name] = {
                "complete": round(float(out.complete.double().mean()), 4),
                "valid": molecules.validity(strings),
                "unique": round(molecules.uniqueness(strings), 4),
                "relaxed": round(float(out.relaxed.double().mean()), 5),
                "ms_each": round(1e3 * cpu / codes, 3),
            }
        cpu, _, repaired = timed(lambda: repair(strings))  # noqa: B023
        row["molecules, repaired"] = {
            "valid": molecules.validity(repaired),
            "unique": round(molecules.uniqueness(repaired), 4),
            "changed": float(np.mean([a != b for a, b in zip(strings, repaired, strict=True)])),
            "ms_each": round(1e3 * cpu / codes, 3),
        }
        results[f"{steps} steps"] = row
    return results


def admitted(g: Grammar, strings: list[str]) -> dict[str, Any]:
    """How many strings can be derived under the semantics of molecules, and how many `repair` leaves unchanged."""
    rows = torch.from_numpy(g.encode(strings).padded(g.padding).astype(np.int64))
    share = torch.cat([Molecules().admits(part) for part in rows.split(2000)]).double().mean()
    unchanged = np.mean([a == b for a, b in zip(strings, repair(strings), strict=True)])
    return {"strings": len(strings), "can_be_derived": round(float(share), 5), "left_alone_by_repair": float(unchanged)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    root = parser.parse_args().data_root
    torch.set_num_threads(1)
    zinc, expressions = load("zinc-smiles"), load("expressions")
    smiles = read_strings(root / "zinc250k" / "250k_rndm_zinc_drugs_clean.smi.gz")
    equations = read_strings(root / "expressions" / "equation2_15_dataset.txt")
    result: dict[str, Any] = {}
    for name, g, strings, few in (("zinc", zinc, smiles, 60), ("expressions", expressions, equations, 400)):
        row = parsing(g, strings)
        chosen = strings[:: len(strings) // few][:few]
        row["nltk_ms_each"] = round(chart_parser(g, chosen), 3)
        row["nltk_over_ours"] = round(row["nltk_ms_each"] / row["ms_each"], 1)
        result[name] = row
        print(name, row, flush=True)
    result["decoding"] = decoding(zinc)
    print(result["decoding"], flush=True)
    result["validity"] = validity(zinc)
    print(result["validity"], flush=True)
    result["admitted"] = admitted(zinc, smiles[:10_000])
    print(result["admitted"], flush=True)
    write("grammar", result)


if __name__ == "__main__":
    main()
