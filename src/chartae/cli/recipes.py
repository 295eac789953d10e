"""A recipe's options as flags: what --help says of them, and those that do not exist."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from chartae.cli.verb import Verb, flag_names, flag_of
from chartae.records.choices import suggestion

__all__ = ["options_help", "refuse_unknown"]

#: width of a line of help
WIDTH = 100


def _recipe_in(words: Sequence[str]) -> str | None:
    """The value of --recipe, if it was typed."""
    for i, word in enumerate(words):
        if word == "--recipe" and i + 1 < len(words) and not words[i + 1].startswith("-"):
            return words[i + 1]
        if word.startswith("--recipe="):
            return word.partition("=")[2]
    return None


def options_help(words: Sequence[str]) -> str:
    """The options of the recipe that was typed, with their defaults; without one, how to see them.

    Raises:
        ValueError: there is no such recipe.
    """
    name = _recipe_in(words)
    if name is None:
        return "recipe options:\n  `chartae fit --recipe NAME --help` lists the options of a recipe"
    from chartae.recipes import RECIPES, option_texts, options

    record, texts = RECIPES[name], option_texts(name)
    lines = [f"options of {name}: {record.summary}"]
    for option, (kind, default) in options(name).items():
        shown = "the paper's" if default is None else str(default)
        lines.append(f"  {flag_of(option)} {kind.__name__.upper()}")
        text = f"{texts.get(option, '').rstrip('.')} (default: {shown})".strip()
        lines += textwrap.wrap(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if formula := _on_mnist(name):
        text = f"with the defaults, on MNIST: {formula}"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _on_mnist(name: str) -> str:
    """The objective of a recipe on MNIST with all its defaults; empty for a recipe that does not read pictures."""
    from chartae.data.kinds import Images
    from chartae.recipes import build, setting_for

    images = Images((1, 28, 28))
    try:
        setting = setting_for(name, images, data="mnist", other=images.shape, classes=10)
        return repr(build(name, setting).objective)
    except ValueError:
        return ""


def refuse_unknown(verb: type[Verb], recipes: Sequence[str], typed: Iterable[str]) -> None:
    """Raise ValueError for a flag that is neither the verb's nor an option of a recipe; the nearest one is named.

    Args:
        verb: the verb.
        recipes: names of recipes, any of which may have an option.
        typed: the options that were typed, with underscores.
    """
    from chartae.recipes import options

    known = list(dict.fromkeys(flag_of(option) for name in recipes for option in options(name)))
    for word in map(flag_of, typed):
        if word not in known:
            raise ValueError(
                f"{word} is neither a flag nor an option of {', '.join(recipes)}, whose options are "
                f"{', '.join(known) or 'none'}. {suggestion(word, [*known, *flag_names(verb)])}".rstrip()
            )
