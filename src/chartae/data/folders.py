"""Folders of pictures: which files are pictures, and which subfolders are splits or classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chartae.data.contents import Contents, Part
from chartae.data.decoding import SUFFIXES
from chartae.data.notes import guess
from chartae.data.options import Reading
from chartae.data.pictures import read_pictures

__all__ = ["files_in", "read_folder", "read_picture"]

#: names of the folders of each split, in any case
SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
#: folders and files that no one put there: of Jupyter, macOS and Windows
_CLUTTER = ("__macosx", "thumbs.db", "desktop.ini")
#: files that hold a whole data set each
_TABLES = (".csv", ".tsv", ".parquet", ".npy", ".npz")
#: names of folders, in lower case, that pairs of pictures are in, not classes
_PAIRED = frozenset({"images", "imgs", "image", "masks", "mask", "annotations", "segmentations", "ground_truth", "gt"})
#: suffixes of pictures that Pillow alone does not read
_UNREAD = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".psd", ".svg")
#: names that are listed in a sentence
_LISTED = 10


@dataclass(frozen=True)
class Tree:
    """The pictures in a folder, and their paths inside it, without the names that all of them begin with.

    Attributes:
        folder: the folder that the paths are relative to.
        paths: pairs of a path and its parts inside the folder, in order.
    """

    folder: Path
    paths: tuple[tuple[Path, tuple[str, ...]], ...]

    @classmethod
    def of(cls, folder: Path, paths: Iterable[Path]) -> Tree:
        """The pictures in the deepest folder that holds all of them."""
        parts = [(path, path.relative_to(folder).parts) for path in paths]
        while parts and len({names[0] for _, names in parts}) == 1 and all(len(names) > 1 for _, names in parts):
            folder = folder / parts[0][1][0]
            parts = [(path, names[1:]) for path, names in parts]
        return cls(folder, tuple(parts))

    def tops(self) -> dict[str, list[Path]]:
        """The pictures by the folder that they are in; "" for those that are in none."""
        groups: dict[str, list[Path]] = {}
        for path, names in self.paths:
            groups.setdefault(names[0] if len(names) > 1 else "", []).append(path)
        return groups


def read_picture(path: Path, reading: Reading) -> Contents:
    """Read one picture.

    Raises:
        ValueError: it cannot be read.
    """
    parts, reading, notes = read_pictures({"train": [path]}, reading, str(path))
    return Contents({"train": Part(parts["train"])}, reading=reading, notes=notes, decoded=True)


def read_folder(folder: Path, reading: Reading) -> Contents:
    """Read the pictures in a folder, at any depth, with its splits and classes.

    Args:
        folder: the folder.
        reading: options for reading.

    Raises:
        ValueError: the folder holds no pictures, or its folders of splits contradict each other; a picture cannot be
            read, or differs from the others in size.
    """
    pictures, others, empty, broken = files_in(folder)
    if not pictures:
        held = f" It holds {_counts(others)}." if others else ""
        if any(path.suffix.lower() in _TABLES for path in others):
            held += " Give the path of one file."
        raise ValueError(f"{folder} holds no images; expected files {', '.join(sorted(SUFFIXES))}.{held}")
    notes: list[str] = []
    splits = _splits(folder, pictures, notes)
    labels = _labels(splits, notes)
    counts = {split: len(tree.paths) for split, tree in splits.items()}
    names = sorted({label for part in labels.values() for label in part})
    rows = f"{sum(counts.values()):,} pictures"
    if set(counts) != {"train"}:
        rows += ": " + ", ".join(f"{split} {n:,} ({splits[split].folder.name}/)" for split, n in counts.items())
    classes = f"{len(names)} classes: {_listed(names)}" if names else "no classes"
    notes.insert(0, f"{folder} holds {rows}; {classes}.")
    if unused := [name for name in empty if name not in names]:
        notes.append(f"Without pictures, and so no classes: {_listed(unused)}.")
    if broken:
        notes.append(guess(
            f"Left out, as they lead nowhere or cannot be opened: {len(broken):,} of {len(broken) + len(pictures):,}"
            f" pictures and folders, such as {broken[0]}. Restore or remove them."
        ))  # fmt: skip
    if unread := [path for path in others if path.suffix.lower() in _UNREAD]:
        notes.append(guess(f"Pictures that cannot be read are left out: {_counts(unread)}. Convert them to PNG."))
    if others := [path for path in others if path not in unread]:
        notes.append(f"Ignored, as they are no pictures: {_counts(others)}.")
    sources = {split: [path for path, _ in tree.paths] for split, tree in splits.items()}
    arrays, reading, said = read_pictures(sources, reading, str(folder))
    parts = {split: Part(arrays[split], labels.get(split)) for split in splits}
    return Contents(parts, reading=reading, notes=(*notes, *said), decoded=True)


def files_in(folder: Path, most: int | None = None) -> tuple[list[Path], list[Path], list[str], list[Path]]:
    """Pictures, other files, names of folders without files, and what cannot be opened, sorted, without hidden ones.

    Args:
        folder: the folder.
        most: the largest number of files and folders; None (default) for any.

    Raises:
        ValueError: there are more.
    """
    count = 0
    pictures: list[Path] = []
    others: list[Path] = []
    empty: list[str] = []
    broken: list[Path] = []
    visited: set[str] = set()

    def failed(error: OSError) -> None:
        broken.append(Path(error.filename))

    for root, folders, files in os.walk(folder, followlinks=True, onerror=failed):
        real = os.path.realpath(root)
        count += len(folders) + len(files)
        if most is not None and count > most:
            raise ValueError(f"{folder} holds more than {most:,} files and folders")
        folders[:] = [name for name in folders if _is_wanted(name) and real not in visited]
        visited.add(real)
        wanted = [Path(root, name) for name in files if _is_wanted(name)]
        broken.extend(path for path in wanted if not path.exists())
        is_picture = {path: path.suffix.lower() in SUFFIXES for path in wanted if path.is_file()}
        pictures += [path for path, is_one in is_picture.items() if is_one]
        others += [path for path, is_one in is_picture.items() if not is_one]
        if not wanted and not folders:
            empty.append(Path(root).name)
    return sorted(pictures), sorted(others), sorted(empty), sorted(broken)


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER


def _split_of(name: str) -> str:
    """The split that a folder of this name holds; "" if it is no name of a split."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), "")


def _splits(folder: Path, pictures: Sequence[Path], notes: list[str]) -> dict[str, Tree]:
    """The pictures of each split; all are ``train`` if there are no folders of splits."""
    lone = {path.relative_to(folder).parts[0] for path in pictures}
    whole = Tree.of(folder, pictures)
    tops = whole.tops()
    named: dict[str, list[str]] = {}
    for name in tops:
        if split := _split_of(name):
            named.setdefault(split, []).append(name)
    rest = [name for name in tops if not _split_of(name)]
    if not named:
        if len(lone) == 1 and _split_of(*lone) in ("valid", "test"):
            notes.append(f"{folder} holds no other folder than {lone.pop()}/; its pictures are split at random.")
        return {"train": whole}
    twice = [f"{a}/ and {b}/" for a, b, *_ in (names for names in named.values() if len(names) > 1)]
    if twice:
        raise ValueError(f"{whole.folder} holds {', '.join(twice)}; expected one folder for each split. Rename one.")
    listed = _listed([f"{name}/" if name else "pictures in no folder" for name in rest])
    names = _listed([f"{group[0]}/" for group in named.values()])
    if rest and ("train" not in named or len(named) == 1):
        notes.append(
            guess(
                f"{whole.folder} holds {names} beside {listed}: read as classes, not as splits. Give a folder with"
                " train/ and test/ alone if they are splits."
            )
        )
        return {"train": whole}
    if "train" not in named:
        raise ValueError(
            f"{whole.folder} holds {names} but no train/; expected train/ beside them. Give one of these folders, or"
            " rename them if they are classes."
        )
    if rest:
        notes.append(
            guess(f"{whole.folder} holds {names}, which are the splits; {listed} beside them: left out. Move them.")
        )
    return {
        split: Tree.of(whole.folder / named[split][0], tops[named[split][0]]) for split in SPLIT_NAMES if split in named
    }


def _labels(splits: Mapping[str, Tree], notes: list[str]) -> dict[str, list[str]]:
    """The class of each picture of each split, its folder; empty unless every picture is in one of several."""
    tops = {split: tree.tops() for split, tree in splits.items()}
    # one folder may hold a whole split of one class
    for split, tree in splits.items():
        others = {name for other, groups in tops.items() if other != split for name in groups if name}
        if set(tops[split]) == {""} and tree.folder.name in others and len(splits) > 1:
            tops[split] = {tree.folder.name: tops[split][""]}
    names = {split: sorted(set(groups) - {""}) for split, groups in tops.items()}
    every = sorted({name for part in names.values() for name in part})
    if len(every) < 2:
        return {}
    loose = [path for groups in tops.values() for path in groups.get("", [])]
    if loose:
        total = sum(len(tree.paths) for tree in splits.values())
        notes.append(
            guess(
                f"{len(loose):,} of {total:,} pictures are in no folder of a class, such as {loose[0]}, so none has a"
                " label. Move them into the folders of their classes."
            )
        )
        return {}
    deep = [names for tree in splits.values() for _, names in tree.paths if len(names) > 2]
    if deep:
        notes.append(f"Folders inside a class, such as {'/'.join(deep[0][:-1])}, are no classes of their own.")
    if paired := [name for name in every if name.lower() in _PAIRED]:
        notes.append(guess(f"Folders called {_listed(paired)} are read as classes. Give one of them if they are none."))
    notes += _missing(names, every)
    of = {path: name for groups in tops.values() for name, paths in groups.items() for path in paths}
    return {split: [of[path] for path, _ in tree.paths] for split, tree in splits.items()}


def _missing(names: Mapping[str, Sequence[str]], every: Sequence[str]) -> Iterator[str]:
    """Sentences about the classes that a split lacks."""
    for split, part in names.items():
        if missing := [name for name in every if name not in part]:
            sentence = f"The {split} split has no pictures of: {_listed(missing)}."
            yield guess(f"{sentence} Nothing is learnt of them.") if split == "train" else sentence


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _counts(files: Sequence[Path]) -> str:
    """Numbers of files by their suffix: "2 .txt, 1 .csv"."""
    counts = Counter(path.suffix.lower() or "without a suffix" for path in files)
    return ", ".join(f"{n:,} {suffix}" for suffix, n in counts.most_common(_LISTED))
