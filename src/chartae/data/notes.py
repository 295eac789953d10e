"""What the reader of data decided, in sentences."""

from __future__ import annotations

import warnings

__all__ = ["Guess", "guess"]


class Guess(UserWarning):
    """The reader of data guessed what a file or an array means, and could be wrong; the message names the remedy."""


def guess(sentence: str) -> str:
    """Warn of a decision that could be wrong.

    Args:
        sentence: what was decided, about which column, file or number, and the keyword that decides it.

    Returns:
        The sentence, for `Dataset.notes`.

    >>> import warnings
    >>> from chartae.data.notes import guess
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     note = guess("x has 4 sizes; the last one is read as channels. Give channels_last=False otherwise.")
    >>> len(caught), str(caught[0].message) == note
    (1, True)
    """
    warnings.warn(sentence, Guess, stacklevel=2)
    return sentence
