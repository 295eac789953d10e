"""`chartae grammar` and `chartae optimise`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.table import Table
from tyro.conf import Positional

from chartae.cli.flags import RunDataFlags, RunFolder, flag
from chartae.cli.printing import cells, console, title
from chartae.cli.verb import Printing, say
from chartae.records.search import Search

if TYPE_CHECKING:
    from chartae.grammar import Audit
    from chartae.optimise import History

__all__ = ["GrammarVerb", "Optimise"]

#: reasons for lost strings that are printed
REASONS = 20


@dataclass(frozen=True)
class GrammarVerb(Printing):
    """Audit a grammar on a file of strings: how many parse and come back unchanged, and why the others do not."""

    examples: ClassVar[tuple[str, ...]] = (
        "grammar audit strings.txt --grammar expressions",
        "grammar audit molecules.smi.gz --grammar zinc-smiles --limit 10000 --json",
    )

    what: Annotated[Positional[str], flag("audit", "audit")]
    file: Annotated[Positional[Path], flag(".txt, .smi, .csv or .tsv, with or without .gz", "FILE")]
    grammar: Annotated[
        str, flag("zinc-smiles, expressions, smiles, arithmetic, rna, or a file (.lark, EBNF, list)", "NAME")
    ]
    column: Annotated[str | None, flag("column of a table; by default smiles, or the first", "NAME")] = None
    limit: Annotated[int | None, flag("use only the first N strings", "N")] = None

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import data, grammar

        if self.what != "audit":
            raise ValueError(f"the action is {self.what!r}; expected `chartae grammar audit FILE --grammar NAME`")
        language = grammar.load(self.grammar)
        audit = grammar.audit(data.read_strings(self.file, column=self.column, limit=self.limit), language)

        def show() -> None:
            stdout = console()
            stdout.print(_audit_table(f"{self.file}: {audit.strings:,} strings under {language.name}", audit))
            if audit.reasons:
                stdout.print(_reasons_table(audit))
                if len(audit.reasons) > REASONS:
                    say(f"{len(audit.reasons) - REASONS} further reasons; --json has them all")

        self.conclude({"file": str(self.file), "grammar": language.name, **audit.summary()}, show)


def _audit_table(name: str, audit: Audit) -> Table:
    def share(count: int) -> str:
        return f"{count:,} ({100 * count / audit.strings:.3f} %)"

    table = Table(title=title(name), show_header=False)
    table.add_row("different", share(audit.different))
    table.add_row("parse", share(audit.parsed))
    table.add_row("come back as they were", share(audit.survived))
    table.add_row("have several derivations", share(audit.ambiguous))
    table.add_row("productions a string", f"{audit.mean:.1f} on average, {audit.longest} at most")
    table.add_row("productions used", f"{audit.used} of {audit.size - 1}")
    table.add_row("in memory", f"{audit.bytes / 1e6:.1f} MB")
    return table


def _reasons_table(audit: Audit) -> Table:
    table = Table(title="Why the rest is lost")
    for head in ("reason", "strings", "string", "character", "example"):
        table.add_column(head, justify="right" if head in ("strings", "string", "character") else "left")
    for r in audit.reasons[:REASONS]:
        example = r.string if len(r.string) <= 50 else r.string[:49] + "…"
        table.add_row(*cells(r.why, f"{r.count:,}", r.index, r.place, example))
    return table


@dataclass(frozen=True)
class Optimise(Printing):
    """Search a run's latent space for strings with a high score; an interrupted search continues with --resume."""

    examples: ClassVar[tuple[str, ...]] = (
        "optimise runs/molecules --objective penalised-logp --rounds 5 --out runs/search",
        "optimise runs/expressions --objective mymodule:error --minimise --resume --out runs/search",
    )

    run_folder: RunFolder
    objective: Annotated[str, flag("penalised-logp, logp, qed, expression-fit, or module:function of your own", "NAME")]
    out: Annotated[Path, flag("folder for the search", "FOLDER")]
    known: Annotated[Path | None, flag("file of further known strings, besides the data", "FILE")] = None
    search: Search = field(default_factory=Search)
    data: RunDataFlags = field(default_factory=RunDataFlags)

    def run(self, options: Mapping[str, str]) -> None:
        from chartae import optimise, runs

        goal = optimise.goal(self.objective, minimise=self.search.minimise)  # refused before a run is read
        run = runs.load(self.run_folder)
        root, named = self.data.data_root, self.data.dataset
        data = None if named is None else run.read(named, root=root)
        history = optimise.optimise(
            run, goal, out=self.out, data=data, root=root, known=self.known or (), say=say, search=self.search
        )
        results = {"objective": self.objective, **history.summary()}

        def show() -> None:
            stdout = console()
            stdout.print(_rounds_table(self.objective, history))
            stdout.print(_best_table(history))

        self.conclude(results, show)
        say(f"strings.csv, results.json and the state of the search are in {self.out}")


def _rounds_table(objective: str, history: History) -> Table:
    table = Table(title=title(f"{objective}, {'maximised' if history.maximise else 'minimised'}"))
    for head in ("round", "best new string of it", "best new so far", "valid", "new"):
        table.add_column(head, justify="right")
    table.add_row("data", "", f"({history.best_known:.4g})", "", "")
    for row in history.rounds():
        scores = ("none" if row[key] is None else f"{row[key]:.4g}" for key in ("peak", "best"))
        table.add_row(str(row["round"]), *scores, f"{row['valid']}/{row['codes']}", str(row["new"]))
    return table


def _best_table(history: History) -> Table:
    table = Table(title="The best new strings")
    table.add_column("score", justify="right")
    table.add_column("round", justify="right")
    table.add_column("string", overflow="fold")
    for row in history.best():
        table.add_row(*cells(f"{row.score:.4g}", row.round, row.string))
    return table
