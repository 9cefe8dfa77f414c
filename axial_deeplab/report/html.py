"""The few forms of HTML that a report needs, as functions of text."""

from collections.abc import Iterable, Sequence
from html import escape

from axial_deeplab.colors import Color

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 1500px; color: #222; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { max-width: 60rem; margin: .4rem 0; }
.side { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 1px solid #999; font-weight: 600; vertical-align: bottom; }
tbody tr:nth-child(even) { background: #f4f4f4; }
tr.sum td { border-top: 1px solid #999; font-weight: 600; }
td.none { color: #999; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border: 1px solid #666; }
dl { display: grid; grid-template-columns: max-content minmax(0, 48rem); gap: .1rem 1rem; margin: .4rem 0; }
dt { font-weight: 600; }
dd { margin: 0; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem; margin: .4rem 0; }
.pictures figure { margin: 0; }
.pictures img { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #555; }
@media print { h3, .pictures { break-inside: avoid; } }
"""

Cell = str | int | float | None
"""What a table shows: text as it is, numbers as they are, fractions in percent, None as a dash."""


class Markup(str):
    """Text that is HTML already."""


def to_html(value: str) -> str:
    """Return text with its special characters escaped, and markup as it is."""
    return value if isinstance(value, Markup) else escape(value)


def format_page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def format_table(
    header: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str = "", total: Sequence[Cell] | None = None
) -> Markup:
    """Return a table whose first column is text; `total` is a last row."""
    lines = [f'<div class="scroll"><table><caption>{to_html(caption)}</caption>' if caption else "<div><table>"]
    lines.append(f"<thead><tr>{''.join(f'<th>{to_html(name)}</th>' for name in header)}</tr></thead><tbody>")
    lines += [f"<tr>{''.join(map(_format_cell, row))}</tr>" for row in rows]
    if total is not None:
        lines.append(f'<tr class="sum">{"".join(map(_format_cell, total))}</tr>')
    return Markup("\n".join([*lines, "</tbody></table></div>"]))


def format_swatch(color: Color, text: str) -> Markup:
    """Return a text behind a field of its color."""
    return Markup(f'<span class="swatch" style="background: rgb{color}"></span>{to_html(text)}')


def format_terms(entries: Iterable[tuple[str, str]]) -> Markup:
    """Return a list of words and what they mean."""
    return Markup(f"<dl>{''.join(f'<dt>{to_html(a)}</dt><dd>{to_html(b)}</dd>' for a, b in entries)}</dl>")


def _format_cell(value: Cell) -> str:
    if isinstance(value, str):
        return f"<td>{to_html(value)}</td>"
    if value is None or value != value:  # NaN: there was nothing to score
        return '<td class="none">–</td>'
    return f"<td>{value}</td>" if isinstance(value, int) else f"<td>{100 * value:.1f}</td>"
