"""A report as text: aligned for a terminal, Markdown, CSV, JSON."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from vsr.evaluate.report import Report, Row
from vsr.evaluate.scores import KEYS, Scores

NO_WEIGHTS = "no weights"
UNMEASURED = "–"  # noqa: RUF001  # a dash, as tables have it
LEGEND = "PSNR (dB) and SSIM: more is better. LPIPS, NIQE and static change (8-bit codes): less is better."
_TITLES = {
    "psnr_y": ("PSNR-Y", 3),  # heading, decimals
    "ssim_y": ("SSIM-Y", 4),
    "psnr_rgb": ("PSNR-RGB", 3),
    "lpips": ("LPIPS", 4),
    "niqe": ("NIQE", 3),
    "static_change": ("static change", 3),
}


def terminal(report: Report) -> str:
    """Aligned columns, the name of a set only where it changes, then the notes."""
    heading, *rows = _cells(report)
    before = ["", ""]
    for row in rows:
        row[:2], before = ["", ""] if row[:2] == before else row[:2], row[:2]
    table = [heading, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heading))]
    lines = [_aligned(row, widths) for row in table]
    return "\n".join([*lines, "", *_remarks(report)]) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, figures to the right."""
    words = [f"{cell:{width}}" for cell, width in zip(row[:3], widths[:3], strict=True)]
    figures = [f"{cell:>{width}}" for cell, width in zip(row[3:], widths[3:], strict=True)]
    return "  ".join([*words, *figures])


def markdown(report: Report) -> str:
    """A table as GitHub shows it, then the notes."""
    heading, *rows = [[cell.replace("|", "\\|") for cell in row] for row in _cells(report)]
    rule = ["---"] * 3 + ["---:"] * (len(heading) - 3)
    lines = ["| " + " | ".join(row) + " |" for row in (heading, rule, *rows)]
    return "\n".join([*lines, "", "  \n".join(_remarks(report))]) + "\n"


def as_csv(report: Report) -> str:
    """A line for each set and model, all digits; an empty cell is not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "material", "scale", "model", "items", *KEYS])
    for row in report.rows:
        figures = [NO_WEIGHTS if key in report.without else getattr(row.mean, key) for key in KEYS]
        writer.writerow([row.data, row.material, report.scale, row.model, len(row.items), *figures])
    return text.getvalue()


def as_json(report: Report) -> str:
    """Everything, with the figures of each item. null is not measured; for PSNR, infinite: the pictures are equal."""
    rows = [
        {
            "data": row.data,
            "material": row.material,
            "model": row.model,
            "mean": _finite(row.mean),
            "items": [{"name": item.name, **_finite(item.scores), "drawn": list(item.drawn)} for item in row.items],
        }
        for row in report.rows
    ]
    whole = {
        "scale": report.scale,
        "shaved": report.scale,
        "no_weights": list(report.without),
        "notes": list(report.notes),
        "rows": rows,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(scores: Scores) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {key: None if value is None or math.isinf(value) else value for key, value in asdict(scores).items()}


def _cells(report: Report) -> list[list[str]]:
    """The heading, then a row for each set and model. Static change has a column only where there are clips."""
    keys = [key for key in KEYS if key != "static_change" or _any_measured(report.rows, key)]
    heading = ["data", "material", "model", *(_TITLES[key][0] for key in keys)]
    return [heading, *([row.data, row.material, row.model, *_figures(report, row, keys)] for row in report.rows)]


def _any_measured(rows: Iterable[Row], key: str) -> bool:
    return any(getattr(item.scores, key) is not None for row in rows for item in row.items)


def _figures(report: Report, row: Row, keys: Iterable[str]) -> list[str]:
    means = row.mean
    return [NO_WEIGHTS if key in report.without else _told(getattr(means, key), _TITLES[key][1]) for key in keys]


def _told(value: float | None, decimals: int) -> str:
    return UNMEASURED if value is None else f"{value:.{decimals}f}"


def _remarks(report: Report) -> list[str]:
    conditions = f"Scale x{report.scale}; PSNR and SSIM without a border of {report.scale} pixels."
    return [conditions, LEGEND, *(f"Note: {note}" for note in report.notes)]
