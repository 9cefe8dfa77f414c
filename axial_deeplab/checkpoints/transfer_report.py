"""What became of the weights that a training started from, for people and as JSON."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MANY = 8
"""int: Names printed of a list; the JSON file has all."""


class TableRows(NamedTuple):
    """The position tables of one layer.

    A row belongs to a distance between query and key, from `-(rows // 2)` to `rows // 2`.
    """

    layer: str
    rows: int
    given: int  # rows in the checkpoint; beyond them the end rows are repeated
    trained: int | None  # largest distance that the checkpoint's training reached; None if its crops are not known
    used: int | None  # largest distance that the new training reaches


@dataclass(frozen=True)
class TransferReport:
    """What a network got from a checkpoint.

    Attributes:
        checkpoint: Its path.
        loaded: Tensors that got values, of `tensors`.
        tensors: Parameters and running statistics of the network.
        share: Share of the parameters' values that come from the checkpoint, 0 to 1.
        encoder_share: The same of the encoder alone.
        at_random: Tensors that stay at random, and why.
        unused: Tensors of the checkpoint that have no place.
        kept_classes: Classes whose outputs were taken over, by name.
        new_classes: Classes whose outputs start at random.
        tables: Layers whose position tables were loaded.
        notes: Differences of the networks that names and shapes do not show.
        continues: Whether the checkpoint itself was started from another, which may have trained more rows of tables.
    """

    checkpoint: str
    loaded: int
    tensors: int
    share: float
    encoder_share: float
    at_random: dict[str, str]
    unused: list[str]
    kept_classes: list[str]
    new_classes: list[str]
    tables: list[TableRows]
    notes: list[str]
    continues: bool = False

    def describe(self) -> str:
        """Say it in a few lines."""
        lines = [
            f"{self.checkpoint}: loaded {self.loaded} of {self.tensors} tensors, {self.share:.1%} of the parameters "
            f"({self.encoder_share:.1%} of the encoder's)"
        ]
        for reason in dict.fromkeys(self.at_random.values()):
            names = [name for name, why in self.at_random.items() if why == reason]
            lines.append(f"at random, {reason}: {count_groups(names)}")
        if self.kept_classes and self.new_classes:
            lines.append(f"classes taken over by name: {shorten(self.kept_classes)}; new: {shorten(self.new_classes)}")
        if self.unused:
            lines.append(f"unused tensors of the checkpoint: {count_groups(self.unused)}")
        lines += self._describe_tables()
        lines += self.notes
        if self.encoder_share < 0.5:
            lines.append("less than half of the encoder fits: is this a checkpoint of the same encoder?")
        return "\n  ".join(lines)

    def _describe_tables(self) -> list[str]:
        stages: dict[tuple[str, TableRows], int] = {}
        for table in self.tables:
            stage = group_name(f"encoder.{table.layer}")
            key = (stage, table._replace(layer=stage))
            stages[key] = stages.get(key, 0) + 1
        if self.tables and all(table.trained is None for table in self.tables):
            return ["position tables: which rows were trained is not known, the checkpoint records no crop size"]
        return [
            f"position tables of {stage} ({layers} layers): {describe_rows(table, self.continues)}"
            for (stage, table), layers in stages.items()
        ]


def describe_rows(table: TableRows, continues: bool) -> str:
    """Say how many rows of a table were trained, and how many of the others will be needed."""
    if table.trained is None:
        return "which rows were trained is not known"
    at_least = "at least " if continues else ""
    text = f"{at_least}{2 * table.trained + 1} of {table.rows} rows trained (distances up to {table.trained})"
    if table.given < table.rows:
        text += f", rows beyond distance {table.given // 2} repeat the last"
    if table.used is not None and table.used > table.trained:
        text += (
            f"; this recipe uses distances up to {table.used}, {2 * (table.used - table.trained)} rows not trained yet"
        )
    return text


def count_groups(names: Iterable[str]) -> str:
    """Return the parts of a network that names belong to, with their numbers."""
    return shorten([f"{group} ({count})" for group, count in Counter(map(group_name, names)).items()])


def group_name(name: str) -> str:
    """Return the part of a network: a stage of the encoder, its stem, a decoder, a head."""
    found = re.match(r"encoder\.(stages\.\d+|\w+)", name)
    return found[0] if found else name.split(".")[0]


def shorten(names: list[str]) -> str:
    """Join names, of a long list the first."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more
