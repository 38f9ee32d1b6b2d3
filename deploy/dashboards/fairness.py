"""Is it fair, and can one see it? The clock, the proof, who gets what, and the predictions it rests on."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.operators import OF, RATE, quantile
from deploy.dashboards.panels import Graph, Row, Series, Stat, Step, made

_SERVICE = f"justitia_tenant_service_kv_token_iterations_total{OF}"
_INTERVAL = "justitia_prediction_interval_total"


def _covered(where: str, over: str = RATE) -> str:
    of_where = OF.replace("{", f'{{cost="{where}", ')
    return f"sum(increase({_INTERVAL}{of_where}{over})) / sum(increase({_INTERVAL}{OF}{over}))"


GLANCE = Row(
    "At a glance",
    (
        Stat(
            "Applications backlogged",
            "Unfinished in the ideal fluid server (GPS): those the clock is shared among.",
            "short",
            (Series(f"max(justitia_applications_backlogged{OF})", "backlogged"),),
        ),
        Stat(
            "Spread of its limit",
            "The spread of virtual start by the largest virtual cost (see below). Around 100 % or less is fair; many "
            "times that: somebody starves.",
            "percentunit",
            (
                Series(
                    f"max(justitia_virtual_start_spread_kv_token_iterations{OF} / "
                    f"(justitia_virtual_cost_max_kv_token_iterations{OF} > 0)) or vector(0)",
                    "of largest cost",
                ),
            ),
            (Step(2, "orange"), Step(3, "red")),
        ),
        Stat(
            "Costs within the predicted interval",
            "Over the last hour. Four in five is what an interval promises; far fewer: the predictor is too sure of "
            "itself. No data: nothing trained predicts yet.",
            "percentunit",
            (Series(_covered("within", "[1h]"), "within"),),
            (Step(0.6, "orange"), Step(0.7, "green")),
            base="red",
        ),
        Stat(
            "Error by what it was in training",
            "Recent error of the trained predictor by its error when it was trained. 1 is as promised. No data: "
            "nothing trained predicts, or fewer than 50 applications have closed since.",
            "short",
            (Series(f"max(justitia_prediction_drift_ratio{OF})", "times"),),
            (Step(1.25, "orange"), Step(1.5, "red")),
            decimals=2,
        ),
    ),
)

PROOF = Row(
    "The proof",
    (
        Graph(
            "Spread of virtual start",
            "Over backlogged applications (unfinished in GPS, or with calls here): how much service a unit of weight "
            "has had between the arrival of the oldest and of the youngest. Where the order is kept nobody stays for "
            "much longer than the largest cost by weight among them, so the two lines stay together. The spread "
            "climbs away and does not come back: somebody starves.",
            "short",
            (
                Series(f"max(justitia_virtual_start_spread_kv_token_iterations{OF})", "spread of S"),
                Series(f"max(justitia_virtual_cost_max_kv_token_iterations{OF})", "largest C / w"),
            ),
        ),
        Graph(
            "Lateness against the bound",
            "Service given to everybody since GPS finished the latest application that still has calls (anew for each "
            "of its stages), and 2 M D: memory of the engines by the longest answer of late. Proven for exact costs; "
            "wrong predictions may pass it.",
            "short",
            (
                Series(f"max(justitia_application_lateness_kv_token_iterations{OF})", "worst lateness"),
                Series(f"max(justitia_application_lateness_bound_kv_token_iterations{OF})", "bound 2 M D"),
            ),
        ),
        Graph(
            "Largest lag",
            "What GPS has given an application less what it has had (calls that run are counted when they end). High "
            "while large applications wait for small ones, which is the point of the order; it ends with theirs.",
            "short",
            (Series(f"max(justitia_application_lag_kv_token_iterations{OF})", "lag"),),
        ),
    ),
)

SHARES = Row(
    "Who gets what",
    (
        Graph(
            "Service by tenants' class",
            "Charged to applications of each class, in token-iterations a second. Applications are served one after "
            "another: compare over minutes.",
            "short",
            (Series(f"sum by (tenant_class) (rate({_SERVICE}{RATE}))", "{{tenant_class}}"),),
            is_stacked=True,
        ),
        Graph(
            "Share of service and of weight, by class",
            "Over ten minutes. While all classes have more to do than they get, the two shares of a class come "
            "together. One that asks for less gets all it asks for.",
            "percentunit",
            (
                Series(
                    f"sum by (tenant_class) (rate({_SERVICE}[10m])) / ignoring(tenant_class) group_left() "
                    f"sum(rate({_SERVICE}[10m]))",
                    "{{tenant_class}}: service",
                ),
                Series(
                    f"avg by (tenant_class) (avg_over_time(justitia_backlogged_weight{OF}[10m])) "
                    f"/ ignoring(tenant_class) group_left() "
                    f"sum(avg by (tenant_class) (avg_over_time(justitia_backlogged_weight{OF}[10m])))",
                    "{{tenant_class}}: weight",
                ),
            ),
            max=1,
        ),
        Graph(
            "Waiting, by tenants' class",
            "Calls. A class that waits while its share of service is below its share of weight is owed something; "
            "above it, it asks for more than its share.",
            "short",
            (Series(f"sum by (tenant_class) (justitia_tenant_calls_queued{OF})", "{{tenant_class}}"),),
            is_stacked=True,
        ),
        Graph(
            "Virtual time",
            "The clock V: service per unit of weight since the beginning. Steeper with fewer backlogged. Flat while "
            "engines work: everybody that is served is past its finish, or no engine reports.",
            "short",
            (Series(f"max(justitia_virtual_time_kv_token_iterations{OF})", "V"),),
        ),
        Graph(
            "Backlogged applications",
            "Unfinished in GPS, and their weight by class. An application that ended early stays until the clock has "
            "passed its finish.",
            "short",
            (
                Series(f"max(justitia_applications_backlogged{OF})", "applications"),
                Series(f"max by (tenant_class) (justitia_backlogged_weight{OF})", "weight: {{tenant_class}}"),
            ),
        ),
        Graph(
            "How applications are told apart",
            "The rule that named each call's application. Much `none` or one rule for everything: callers name no "
            "applications, and each call is one by itself.",
            "reqps",
            (Series(f"sum by (rule) (rate(justitia_identity_total{OF}{RATE}))", "{{rule}}"),),
            is_stacked=True,
        ),
    ),
)

PREDICTIONS = Row(
    "Predictions",
    (
        Graph(
            "Error of predicted costs",
            "|predicted at the first call - measured| / measured, as applications close. Order suffers little from "
            "errors below 1; a kind far above it is placed by chance.",
            "percentunit",
            (
                Series(quantile(0.5, "prediction_relative_error"), "all: median"),
                Series(quantile(0.9, "prediction_relative_error"), "all: p90"),
                Series(quantile(0.5, "prediction_relative_error", "application_kind"), "{{application_kind}}: median"),
            ),
            is_logarithmic=True,
        ),
        Graph(
            "Calibration: where costs lay",
            "Of closed applications, by the predicted interval: below, within, above, a tenth, eight tenths and a "
            "tenth where it is calibrated. More above than below: costs are predicted too small, and large "
            "applications come too early.",
            "percentunit",
            tuple(Series(_covered(where, "[10m]"), where) for where in ("below", "within", "above")),
            max=1,
        ),
        Graph(
            "Predictor in use, and its drift",
            "1 for what predicts now: trained, or the mean of each kind. Drift above 1.5 for long: traffic has "
            "changed since it was trained.",
            "short",
            (
                Series(f"max by (predictor) (justitia_predictor_in_use{OF})", "{{predictor}}"),
                Series(f"max(justitia_prediction_drift_ratio{OF})", "drift"),
            ),
        ),
    ),
)


def fairness() -> Dashboard:
    return made(
        "justitia-fairness",
        "Justitia: fairness",
        "Virtual time, the live proof of fairness, who gets what, and how good the predictions are.",
        (GLANCE, PROOF, SHARES, PREDICTIONS),
    )
