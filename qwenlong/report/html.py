"""Writes pages: one HTML file each, that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from qwenlong.report.drawing import palette_css

HERE = Path(__file__).parent


def write_page(out: Path, template: str, script: str, styles: Sequence[str], **values: Any) -> Path:
    """Renders a template of this folder with its script and style sheets, and writes it to ``out``.

    The template gets ``css``, ``script``, ``script_digest`` and ``values``. Everything that is not
    ``Markup`` is escaped. The digest lets the page's own script run and no other.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = (HERE / script).read_text(encoding="utf-8")
    css = [palette_css(), *((HERE / name).read_text(encoding="utf-8") for name in styles)]
    html = environment.get_template(template).render(
        css=Markup("".join(css)),
        script=Markup(code),
        script_digest=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        **values,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8", errors="replace", newline="\n")
    return out
