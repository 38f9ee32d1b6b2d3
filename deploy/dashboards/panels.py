"""What a dashboard of ours is made of: rows of panels on a grid 24 wide, each a few PromQL expressions in one unit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

_PAGES = {"justitia-operators": "Operators", "justitia-fairness": "Fairness"}

_WIDTH = 24
_STAT_HEIGHT, _GRAPH_HEIGHT = 4, 8


@dataclass(frozen=True, slots=True)
class Series:
    expr: str
    legend: str
    """`{{label}}` stands for a label's value."""


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, in this colour."""

    value: float
    color: str


@dataclass(frozen=True, slots=True)
class Stat:
    """One number, as it is now."""

    title: str
    description: str
    unit: str
    series: tuple[Series, ...]
    steps: tuple[Step, ...] = ()
    """Green below the first, or `base`."""
    base: str = "green"
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """Over time."""

    title: str
    description: str
    unit: str
    series: tuple[Series, ...]
    is_stacked: bool = False
    limit: float | None = None
    """A line: above it there is something to do."""
    max: float | None = None
    is_logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Stat | Graph]
    """At most 24, side by side in even shares; graphs in threes."""


def made(uid: str, title: str, description: str, rows: Iterable[Row]) -> models.Dashboard:
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["justitia"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-30m", "now")
        .timepicker(dashboard.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m"]))
        .refresh("5s")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_of_label("policy", "Policy", "justitia_build_info", "policy"))
        .with_variable(_of_label("engine", "Engine", "justitia_engine_up", "engine"))
    )
    for other, name in _PAGES.items():
        if other != uid:
            board.link(_link(f"Justitia: {name}", f"/d/{other}"))
    _lay_out(board, rows)
    return board.build()


def _lay_out(board: dashboard.Dashboard, rows: Iterable[Row]) -> None:
    number, y = 0, 0
    for row in rows:
        number += 1
        board.with_row(dashboard.Row(row.title).id(number).grid_pos(models.GridPos(h=1, w=_WIDTH, x=0, y=y)))
        y += 1
        x = 0
        for panel in row.panels:
            number += 1
            width, height = _size(panel, len(row.panels))
            if x + width > _WIDTH:
                x, y = 0, y + height
            position = models.GridPos(h=height, w=width, x=x, y=y)
            board.with_panel(_built(panel).id(number).grid_pos(position))
            x += width
        y += height


def _size(panel: Stat | Graph, num_beside: int) -> tuple[int, int]:
    if isinstance(panel, Stat):
        return _WIDTH // num_beside, _STAT_HEIGHT
    return _WIDTH // min(num_beside, 3), _GRAPH_HEIGHT


def _built(panel: Stat | Graph) -> stat.Panel | timeseries.Panel:
    built = _stat(panel) if isinstance(panel, Stat) else _graph(panel)
    built.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    if isinstance(panel, Stat) or not panel.is_logarithmic:  # such a scale has no 0
        built.min(0)
    for letter, series in zip("ABCDEFGH", panel.series, strict=False):
        built.with_target(_target(series, letter, is_instant=isinstance(panel, Stat)))
    return built


def _stat(panel: Stat) -> stat.Panel:
    steps = [models.Threshold(value=None, color=panel.base)]
    steps += [models.Threshold(value=step.value, color=step.color) for step in panel.steps]
    built = (
        stat.Panel()
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .color_mode(shapes.BigValueColorMode.BACKGROUND)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return built if panel.decimals is None else built.decimals(panel.decimals)


def _graph(panel: Graph) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    built = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .line_width(1)
        .fill_opacity(30 if panel.is_stacked else 5)
        .show_points(shapes.VisibilityMode.NEVER)
    )
    if panel.is_stacked:
        built.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if panel.max is not None:
        built.max(panel.max)
    if panel.is_logarithmic:
        scale = common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG).log(10)
        built.scale_distribution(scale)
    if panel.limit is not None:
        steps = [models.Threshold(value=None, color="transparent"), models.Threshold(value=panel.limit, color="red")]
        built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    return built


def _target(series: Series, letter: str, *, is_instant: bool) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(series.expr).legend_format(series.legend).ref_id(letter)
    return query.instant() if is_instant else query.range()


def _of_label(name: str, label: str, metric: str, of: str) -> Builder[models.VariableModel]:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(f"label_values({metric}, {of})")
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).include_vars(True).keep_time(True)
    )
