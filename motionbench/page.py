"""The shell of a report: one HTML file with everything in it, which opens from disk and needs no network."""

from __future__ import annotations

import base64
from html import escape

STYLE = """
:root { --ink: #1c2733; --faint: #66727f; --rule: #dde3e9; --paper: #fbfcfd; --accent: #16547c;
  --good: #1d7a4f; --bad: #b3392b; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 48px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 16px; margin: 22px 0 6px; }
p { margin: 6px 0; max-width: 80ch; }
.faint, figcaption, small { color: var(--faint); }
.tiles { display: flex; flex-wrap: wrap; gap: 14px; margin: 22px 0 8px; }
.tile { background: #fff; border: 1px solid var(--rule); border-radius: 10px; padding: 12px 18px; min-width: 150px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; background: #fff; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top;
  white-space: nowrap; }
td.text { text-align: left; white-space: normal; }
th { font-weight: 600; } thead th { vertical-align: bottom; white-space: normal; max-width: 130px; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 500; }
td small { display: block; font-size: 11.5px; }
td.best { font-weight: 700; color: var(--accent); } td.better { color: var(--good); } td.worse { color: var(--bad); }
th.bound, td.bound { background: #f4f6f8; } td.none { color: #b6bfc8; text-align: center; }
.heat th, .heat td { padding: 3px 5px; font-size: 11.5px; border: 1px solid #fff; text-align: center; }
.heat th:first-child { text-align: left; padding-right: 12px; }
.heat th.up { height: 108px; vertical-align: bottom; padding: 0; }
.heat th.up span { writing-mode: vertical-rl; transform: rotate(180deg); }
.strips { width: 100%; max-width: 900px; height: auto; display: block; margin: 10px 0; }
.strips text { font-size: 12px; fill: var(--ink); } .strips .name { text-anchor: end; }
.strips .tick { text-anchor: middle; fill: var(--faint); }
.grid { stroke: #edf1f4; } .box { fill: #dbe6ee; } .dot { fill: var(--accent); opacity: 0.45; }
.interval { stroke: #e08a2e; stroke-width: 4; } .mean { stroke: #b35c00; stroke-width: 2.5; }
details { border: 1px solid var(--rule); border-radius: 8px; background: #fff; margin: 10px 0; padding: 10px 16px; }
summary { cursor: pointer; font-weight: 600; }
figure { margin: 18px 0; } figure img { max-width: 100%; border: 1px solid var(--rule); border-radius: 6px; }
figcaption { margin-bottom: 6px; } figcaption b { color: var(--ink); }
pre { background: #f4f6f8; padding: 12px 14px; border-radius: 8px; overflow-x: auto; font-size: 12.5px;
  line-height: 1.45; }
.alarm { border-left: 4px solid var(--bad); padding: 6px 14px; background: #fdf3f1; }
"""


def page(title: str, body: list[str]) -> str:
    """A whole HTML document."""
    head = ("<meta charset='utf-8'>\n<meta name='viewport' content='width=device-width'>\n"
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>")
    return "\n".join(["<!doctype html>", "<html lang='en'>", f"<head>\n{head}\n</head>", "<body>\n<main>", *body,
                      "</main>\n</body>", "</html>", ""])


def table(head: list[str], rows: list[list[str]], bounds: set[int] = frozenset()) -> str:
    """Cells are HTML: "<td>…</td>" as they are, other text in a cell of its own. bounds: columns set apart."""
    top = "".join(f"<th{' class=bound' if index in bounds else ''}>{cell}</th>" for index, cell in enumerate(head))
    lines = []
    for first, *rest in rows:
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        lines.append(f"<tr><th>{first}</th>{cells}</tr>")
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def text_cell(text: str) -> str:
    """A cell of words instead of numbers."""
    return f"<td class='text'>{escape(text)}</td>"


def tile(value: str, text: str) -> str:
    return f"<div class='tile'><b>{value}</b><span class='faint'>{escape(text)}</span></div>"


def folded(title: str, content: str, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{content}</details>"


def picture(jpeg: bytes, alt: str) -> str:
    return f"<img alt='{escape(alt, quote=True)}' src='data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'>"
