"""A run as one self-contained web page: the facts of the comment, and the roofline.

Text from a candidate is escaped, and the page's content security policy blocks every script.
"""

from __future__ import annotations

import base64

from gate.records import Run
from gate.report.facts import NOT_PROFILED, evidence, headline, rows
from gate.report.roofline_plot import roofline
from gate.report.terminal import HEADERS
from gate.text import one_line


def page(run: Run) -> str:
    """The HTML document; equal runs give equal bytes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("gate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=one_line,
    )
    return templates.get_template("report.html").render(
        title=f"Kernel Gate: {run.measurement.impl or 'SDPA'}: {run.verdict.outcome}",
        outcome=run.verdict.outcome.value,
        headline=headline(run),
        next_step=run.verdict.next_step,
        headers=HEADERS,
        rows=list(rows(run)),
        warnings=run.verdict.warnings,
        roofline=base64.b64encode(roofline(run.measurement)).decode(),
        not_profiled=NOT_PROFILED,
        evidence=[(title, lines) for title, lines in evidence(run) if lines],
    )
