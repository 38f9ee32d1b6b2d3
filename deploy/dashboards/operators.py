"""For who runs it: what is asked of the gateway, who waits, how late anybody is, and is everything well."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.dashboards.panels import Graph, Row, Series, Stat, Step, made

OF = '{policy=~"$policy"}'
AT = '{policy=~"$policy", engine=~"$engine"}'
RATE = "[$__rate_interval]"


def quantile(share: float, metric: str, *by: str) -> str:
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) (rate(justitia_{metric}_bucket{OF}{RATE})))"


def quantiles(metric: str) -> tuple[Series, ...]:
    return tuple(Series(quantile(share, metric), f"p{100 * share:g}") for share in (0.5, 0.9, 0.99))


GLANCE = Row(
    "At a glance",
    (
        Stat(
            "Gateways up",
            "Gateways that answer Prometheus, of those it knows. Red: JustitiaGatewayDown says which.",
            "percentunit",
            (Series('avg(up{job=~"justitia.*"})', "up"),),
            (Step(1, "green"),),
            base="red",
        ),
        Stat(
            "Engines up",
            "Engines that every gateway reaches, of those it was given. Calls of an engine that is down wait for it "
            "or go elsewhere.",
            "percentunit",
            (Series(f"avg(min by (engine) (justitia_engine_up{AT}))", "up"),),
            (Step(1, "green"),),
            base="red",
        ),
        Stat(
            "Store up",
            "Whether the state store (Redis, or the gateway's own memory) answered last. Without it calls go on, in "
            "the order last known.",
            "percentunit",
            (Series(f"avg(justitia_store_up{OF})", "up"),),
            (Step(1, "green"),),
            base="red",
        ),
        Stat(
            "Calls a second",
            "Calls that ended, in whatever way.",
            "reqps",
            (Series(f"sum(rate(justitia_calls_total{OF}{RATE}))", "ended"),),
        ),
        Stat(
            "Calls waiting",
            "In the gateways' queues now. Waiting is normal while engines are full; worry when the oldest wait grows.",
            "short",
            (Series(f"sum(justitia_calls_queued{OF})", "waiting"),),
        ),
        Stat(
            "Oldest wait",
            "How long the first of the waiting calls has waited. At JUSTITIA_SCHEDULING__QUEUE_TIMEOUT_S (600 s by "
            "default) it is turned away.",
            "s",
            (Series(f"max(justitia_call_oldest_wait_seconds{OF})", "oldest"),),
            (Step(60, "orange"), Step(300, "red")),
            decimals=0,
        ),
        Stat(
            "Lateness of bound",
            "How far behind fair sharing the latest application is, by the 2 M D that the algorithm promises. Above "
            "100 % somebody got less than was promised: see the dashboard Fairness.",
            "percentunit",
            (
                Series(
                    f"max(justitia_application_lateness_kv_token_iterations{OF} / "
                    f"(justitia_application_lateness_bound_kv_token_iterations{OF} > 0)) or vector(0)",
                    "of bound",
                ),
            ),
            (Step(0.8, "orange"), Step(1, "red")),
        ),
        Stat(
            "Refused",
            "Share of calls that the gateway itself ended: queue full or shed, waited too long, quota, no engine.",
            "percentunit",
            (
                Series(
                    f"sum(rate(justitia_refusals_total{OF}{RATE})) / sum(rate(justitia_calls_total{OF}{RATE}))",
                    "refused",
                ),
            ),
            (Step(0.01, "orange"), Step(0.05, "red")),
            decimals=1,
        ),
    ),
)

LOAD = Row(
    "Load",
    (
        Graph(
            "Calls by how they ended",
            "Failed and evicted should be near nothing. Cancelled are clients that left; retried went to another "
            "engine and count again there.",
            "reqps",
            (Series(f"sum by (outcome) (rate(justitia_calls_total{OF}{RATE}))", "{{outcome}}"),),
            is_stacked=True,
        ),
        Graph(
            "Tokens",
            "Of ended calls, as the engines counted them. Calls steady and tokens falling: engines are slower or "
            "answers shorter.",
            "short",
            (Series(f"sum by (direction) (rate(justitia_tokens_total{OF}{RATE}))", "{{direction}} a second"),),
        ),
        Graph(
            "Applications: completion time",
            "From an application's first call to its last end, as it closes: what users feel.",
            "s",
            quantiles("application_completion_seconds"),
            is_logarithmic=True,
        ),
    ),
)

QUEUE = Row(
    "Queue",
    (
        Graph(
            "Waiting and running",
            "Running is bounded by the engines' memory. Waiting that grows for minutes: more is asked than engines "
            "can give.",
            "short",
            (
                Series(f"sum(justitia_calls_queued{OF})", "waiting"),
                Series(f"sum(justitia_calls_running{OF})", "running"),
            ),
        ),
        Graph(
            "Waiting, by what holds them",
            "`capacity`: the first of each model, for room in an engine. `order`: those behind it. `tenant_cap`: their "
            "tenant has as many calls running as it may (`justitia keys terms`). `no_engine`: nobody who is up serves "
            "their model.",
            "short",
            (Series(f"sum by (hold) (justitia_calls_held{OF})", "{{hold}}"),),
            is_stacked=True,
        ),
        Graph(
            "Waiting, by tenants' class",
            "Who waits. A class that waits alone is at its cap (`justitia keys terms`), or asks for more than others.",
            "short",
            (Series(f"sum by (tenant_class) (justitia_tenant_calls_queued{OF})", "{{tenant_class}}"),),
            is_stacked=True,
        ),
        Graph(
            "Wait for dispatch",
            "Of calls as they are dispatched; the oldest is of those that still wait. A high p99 beside a low median "
            "is the order at work: large applications wait for small ones.",
            "s",
            (
                *quantiles("call_queue_seconds"),
                Series(f"max(justitia_call_oldest_wait_seconds{OF})", "oldest waiting"),
            ),
        ),
        Graph(
            "Time to first token",
            "From a call's arrival to its first byte, waiting included. Above the wait by what the engine takes to "
            "read a prompt.",
            "s",
            quantiles("call_time_to_first_token_seconds"),
        ),
        Graph(
            "Lateness against the bound",
            "Service given to others since fair sharing would have finished the latest application that still has "
            "calls, and the 2 M D it should stay below. Wrong predictions and stages may pass it for a while.",
            "short",
            (
                Series(f"max(justitia_application_lateness_kv_token_iterations{OF})", "worst lateness"),
                Series(f"max(justitia_application_lateness_bound_kv_token_iterations{OF})", "bound 2 M D"),
            ),
        ),
        Graph(
            "Refusals",
            "Calls that the gateway itself ended, by why. queue_full, shed: too much waits. queue_timeout: it waited "
            "too long. quota_exceeded: one tenant's own limit. engine_unreachable: none serves that model. No "
            "valid key: a client with an old one, or a stranger who tries.",
            "reqps",
            (
                Series(f"sum by (reason) (rate(justitia_refusals_total{OF}{RATE}))", "{{reason}}"),
                Series(f"sum(rate(justitia_unauthenticated_calls_total{OF}{RATE}))", "no valid key"),
            ),
            is_stacked=True,
        ),
    ),
)

ENGINES = Row(
    "Engines",
    (
        Graph(
            "KV memory in use",
            "Full while calls wait is as it should be. Not full while calls wait: the engines' sequence slots are "
            "used up, or tenants are at their caps.",
            "percentunit",
            (Series(f"max by (engine) (justitia_engine_kv_usage_ratio{AT})", "{{engine}}"),),
            max=1,
        ),
        Graph(
            "Calls in the engines",
            "Everybody's. A few wait inside (the gateways' margin); many: somebody sends around the gateways, or an "
            "engine is not patched.",
            "short",
            (Series(f"max by (engine, status) (justitia_engine_calls{AT})", "{{engine}} {{status}}"),),
        ),
        Graph(
            "Service and preemptions",
            "Service is KV memory held, in token-iterations a second. Preempted calls lose what they had: many of "
            "them waste the engine. Passed calls went past one that did not fit, where the engine lets them.",
            "short",
            (
                Series(f"sum by (engine) (rate(justitia_service_kv_token_iterations_total{AT}{RATE}))", "{{engine}}"),
                Series(
                    f"sum by (engine) (rate(justitia_engine_preemptions_total{AT}{RATE}))", "{{engine}} preemptions"
                ),
                Series(f"sum by (engine) (rate(justitia_engine_passed_calls_total{AT}{RATE}))", "{{engine}} passed"),
            ),
            is_logarithmic=True,
        ),
        Graph(
            "How far engines follow the order",
            "patched: order, re-ranking, exact accounts. priority: order only. unordered: only the gateway's queue is "
            "in order. All 0: it does not answer.",
            "short",
            (Series(f"max by (engine, mode) (justitia_engine_mode{AT}) > 0 or justitia_engine_up{AT} == 0",
                    "{{engine}} {{mode}}"),),
            max=1,
        ),
        Graph(
            "Store: time of an operation (p99)",
            "No call waits for more than one of these. Above 10 ms: Redis is busy or far away.",
            "s",
            (Series(quantile(0.99, "store_operation_seconds", "operation"), "{{operation}}"),),
        ),
        Graph(
            "Store: failures",
            "Operations that failed. While the store is away only the sweep asks it, about once a second.",
            "ops",
            (Series(f"sum by (operation) (rate(justitia_store_errors_total{OF}{RATE}))", "{{operation}}"),),
        ),
    ),
)  # fmt: skip

GATEWAY = Row(
    "The gateway itself",
    (
        Graph(
            "Overhead of a call",
            "Time in the gateway, waiting and engine excluded. Above 10 ms at p99: its process has no processor left.",
            "s",
            quantiles("gateway_overhead_seconds"),
        ),
        Graph(
            "Event loop late",
            "How late the loop is when it is looked at, ten times a second. All streams stand still that long. Above "
            "50 ms: more workers (`--workers`), or a fault.",
            "s",
            (
                Series(quantile(0.99, "event_loop_lag_seconds"), "p99"),
                Series(
                    f"sum(rate(justitia_event_loop_lag_seconds_sum{OF}{RATE})) / "
                    f"sum(rate(justitia_event_loop_lag_seconds_count{OF}{RATE}))",
                    "mean",
                ),
            ),
        ),
        Graph(
            "Spans of traces",
            "Sent to the collector, or dropped because it did not take them in time: then traces have gaps, and calls "
            "none.",
            "ops",
            (Series(f"sum by (result) (rate(justitia_spans_total{OF}{RATE}))", "{{result}}"),),
        ),
        Graph(
            "Processor, memory, files",
            "Processor: cores in use; one worker uses one at most. Files: sockets of clients and engines, of what a "
            "worker may open. Memory in GiB.",
            "short",
            (
                Series(f"sum(rate(justitia_process_cpu_seconds_total{OF}{RATE}))", "cores"),
                Series(f"max(justitia_process_open_files{OF} / justitia_process_max_files{OF})", "share of files"),
                Series(f"sum(justitia_process_resident_memory_bytes{OF}) / 2^30", "GiB"),
                Series(f"sum(justitia_workers{OF})", "workers"),
            ),
        ),
    ),
)


def operators() -> Dashboard:
    return made(
        "justitia-operators",
        "Justitia: operators",
        "Load, queue, completion times, lateness, engines, store, refusals, overhead.",
        (GLANCE, LOAD, QUEUE, ENGINES, GATEWAY),
    )
