"""The HTML pages of reports: they stand alone, work without scripts, and read well in the dark."""

from __future__ import annotations

import base64
import html
from itertools import groupby
from typing import TYPE_CHECKING

from vmdriver.report import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmdriver.report import Entry, Outcome

_LONG = 400  # characters of a line that are shown before somebody asks for more


def page(root: Entry, failure: str | None) -> str:
    """Return the page of one test: how it ended, what it consisted of, and everything that happened."""
    machines = sorted({entry.machine for entry in walk(root) if entry.machine})
    colours = {machine: f"m{index % 6}" for index, machine in enumerate(machines)}
    subtests = [entry for entry in walk(root) if entry.subtest]
    verdict = "failed" if failure else "passed"
    parts = [_head(f"{root.text}: {verdict}", failure)]
    parts.append(f"<h1>{_text(root.text)} <b class={verdict}>{verdict}</b></h1>")
    counted = [_count(len(subtests), "subtest"), _count(len(machines), "machine"), f"{root.seconds or 0:.1f} s"]
    parts.append(f"<p class=sum>{' &middot; '.join(counted)}</p>")
    if failure:
        parts.append(f"<h2>Why</h2><pre class=why>{_text(failure)}</pre>")
    if subtests:
        parts.append(f"<h2>Subtests</h2><table>{''.join(_rows(subtests))}</table>")
    shown = "".join(_entries(root.children, colours, {id(entry): n for n, entry in enumerate(subtests)}))
    box = "<label class=toggle><input type=checkbox id=consoles checked> consoles</label>"
    parts.append(f"<h2>Log</h2>{box}<ul class=log>{shown}</ul>")
    for machine in machines:
        lines = [entry.text for entry in walk(root) if entry.console and entry.machine == machine]
        if lines:
            title = f"Console of <span class='m {colours[machine]}'>{_text(machine)}</span>{_count(len(lines), 'line')}"
            whole = _text("\n".join(lines))
            parts.append(f"<details class=whole><summary>{title}</summary><pre>{whole}</pre></details>")
    return "".join(parts)


def index(outcomes: list[Outcome]) -> str:
    """Return the page that leads to those of several tests."""
    failed = sum(outcome.failure is not None for outcome in outcomes)
    said = f"{len(outcomes) - failed} passed, {failed} failed"
    rows = []
    longest = max((outcome.seconds for outcome in outcomes), default=0)
    for outcome in outcomes:
        name = _text(outcome.name)
        why = f"<p class=first>{_text(outcome.failure.splitlines()[0])}</p>" if outcome.failure else ""
        link = f"<a href='{name}/report.html'>{name}</a>{why}"
        rows.append(_row(link, outcome.seconds, longest, outcome.failure is not None))
    total = sum(outcome.seconds for outcome in outcomes)
    head = _head(f"Tests in virtual machines: {said}", failed)
    title = f"<h1>Tests in virtual machines <b class={'failed' if failed else 'passed'}>{said}</b></h1>"
    return f"{head}{title}<p class=sum>{total:.1f} s</p><table>{''.join(rows)}</table>"


def _rows(subtests: list[Entry]) -> Iterator[str]:
    longest = max(entry.seconds or 0 for entry in subtests)
    for number, entry in enumerate(subtests):
        name = entry.text.removeprefix("subtest: ")
        yield _row(f"<a href='#s{number}'>{_text(name)}</a>", entry.seconds or 0, longest, entry.failed)


def _row(cell: str, seconds: float, longest: float, failed: bool) -> str:
    width = 100 * seconds / (longest or 1)
    mark = "<td class=failed>&#10007;" if failed else "<td class=passed>&#10003;"
    return f"<tr>{mark}<td>{cell}<td class=n>{seconds:.1f} s<td class=bar><i style='width:{width:.0f}%'></i>"


def _entries(entries: list[Entry], colours: dict[str, str], numbers: dict[int, int]) -> Iterator[str]:
    for (console, machine), group in groupby(entries, lambda entry: (entry.console, entry.machine)):
        name = f"<span class='m {colours[machine]}'>{_text(machine)}</span>" if machine else ""
        if console:
            lines = list(group)
            text = _text("\n".join(line.text for line in lines))
            yield f"<li class=console>{_when(lines[0])}{name}<pre>{text}</pre>"
            continue
        for entry in group:
            anchor = f" id=s{numbers[id(entry)]}" if id(entry) in numbers else ""
            kind = " class=failed" if entry.failed else ""
            yield f"<li{anchor}{kind}>{_entry(entry, name, colours, numbers)}"


def _entry(entry: Entry, name: str, colours: dict[str, str], numbers: dict[int, int]) -> str:
    seconds = f"<span class=t>{entry.seconds:.2f} s</span>" if entry.seconds is not None else ""
    first, _, rest = entry.text.partition("\n")
    if len(first) > _LONG:
        first, rest = f"{first[:_LONG]}...", entry.text
    line = f"{_when(entry)}{name}<code>{_text(first)}{' ...' if rest else ''}</code>{seconds}"
    inner = f"<pre>{_text(rest)}</pre>" if rest else ""
    if entry.picture is not None:
        source = f"data:image/png;base64,{base64.b64encode(entry.picture).decode()}"
        line += f"<a href='{source}'><img alt='{_text(first)}' src='{source}'></a>"
    if entry.children:
        inner += f"<ul>{''.join(_entries(entry.children, colours, numbers))}</ul>"
    if not inner:
        return f"<div>{line}</div>"
    return f"<details{' open' if entry.failed or entry.subtest else ''}><summary>{line}</summary>{inner}</details>"


def _when(entry: Entry) -> str:
    return f"<span class=at>{entry.at:.1f}</span>"


def _text(text: str) -> str:
    return html.escape(text)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _head(title: str, failed: object) -> str:
    icon = "%23c33" if failed else "%2329814f"
    circle = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'><circle cx='4' cy='4' r='4' fill='{icon}'/></svg>"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f'<title>{_text(title)}</title><link rel=icon href="data:image/svg+xml,{circle}">{_STYLE}'
    )


_STYLE = """<style>
:root{color-scheme:light dark;--soft:#6b7280;--line:#8884;--back:#8881;--good:#29814f;--bad:#c33}
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}
h1{font-size:1.6em;margin-bottom:0} h2{font-size:1.1em;margin:1.6em 0 .4em}
h1 b{font-size:.6em;vertical-align:.2em;padding:.15em .6em;border-radius:1em;color:#fff}
b.passed{background:var(--good)} b.failed{background:var(--bad)}
td.passed{color:var(--good)} td.failed{color:var(--bad)}
.sum,.first{color:var(--soft);margin:.2em 0} a{color:inherit;text-decoration-color:var(--line)}
code,pre{font:13px/1.45 ui-monospace,monospace} pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.why{border-left:4px solid var(--bad);background:var(--back);padding:.6em 1em}
table{border-collapse:collapse;width:100%} td{padding:.15em .6em;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{width:1em} .n{text-align:right;white-space:nowrap;width:5em} .bar{width:20%}
.bar i{display:block;height:.6em;margin-top:.5em;min-width:1px;background:var(--soft);border-radius:2px}
ul{list-style:none;margin:0;padding-left:1.6em} .log{padding-left:0} li{clear:both} li>div,summary{padding:.05em 0}
li>div{padding-left:1.1em} summary{cursor:pointer} summary:hover,li>div:hover{background:var(--back)}
details>pre,.console{color:var(--soft)} details>pre{padding:.2em 0 .4em 5em}
.console{display:grid;grid-template-columns:auto auto 1fr;padding-left:1.1em}
.failed>details>summary code{color:var(--bad)}
.at{display:inline-block;min-width:3em;margin-right:.8em;text-align:right;font-size:12px;color:var(--soft)}
.t{float:right;font-size:12px;color:var(--soft)} .m{font-weight:600;margin-right:.7em}
.m0{color:#2563eb}.m1{color:#b45309}.m2{color:#7c3aed}.m3{color:#0e7490}.m4{color:#be185d}.m5{color:#4d7c0f}
img{max-width:32em;display:block;margin:.3em 0 .6em 4em;border:1px solid var(--line)}
.toggle{float:right;margin-top:-1.8em;color:var(--soft)} body:has(#consoles:not(:checked)) .console{display:none}
.whole{margin-top:.6em} .whole pre{background:var(--back);padding:.6em 1em;max-height:40em;overflow:auto}
</style>"""
