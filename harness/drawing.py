"""What draws the charts of the page: it takes seconds to make, is the same for every page, and is therefore kept."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from harness.places import samenet_home
from harness.records import write_whole
from workloads.datasets import file_sha256
from workloads.errors import UserError
from workloads.spec import fingerprint

SOURCES = ("charts.py", "chart_theme.py")
PACKAGES = ("altair", "vl-convert-python")
"""What a drawing is made from: one that is kept is used as long as none of these changes."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """JavaScript fit to stand within a script of HTML, and the charts that it draws as Vega specs by name."""

    library: str
    charts: Mapping[str, Any]


@cache
def make_drawing() -> Drawing:
    """Return the drawing that is kept, or a new one, which is kept from then on if there is room."""
    made_from = [*(file_sha256(Path(__file__).with_name(name)) for name in SOURCES), *map(version, PACKAGES)]
    kept = samenet_home() / "drawings" / f"{fingerprint(made_from)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Drawing(**orjson.loads(kept.read_bytes()))
    drawing = _draw()
    with contextlib.suppress(UserError):
        write_whole(kept, orjson.dumps(asdict(drawing)))
    return drawing


def _draw() -> Drawing:
    # They load a JavaScript engine, which is slow and which nothing else needs.
    import vl_convert

    from harness.charts import chart_specs

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Drawing(library=bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--"), charts=chart_specs())
