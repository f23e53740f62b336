"""What the dashboard shows: how customers are served, then each dependency, down to the models."""

from __future__ import annotations

from typing import Final

from racksort.dev.monitoring.dashboard import Panel, Query, Row

_PAGES: Final = 'route=~"products|rank"'
_MODELS: Final = 'model!~"personalize_v.+"'


def _quantiles(metric: str, selector: str = "", by: str = "") -> tuple[Query, ...]:
    labels, name = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        Query(f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{selector}[5m])))", f"p{text}{name}")
        for share, text in ((0.5, "50"), (0.99, "99"))
    )


def _rate(metric: str, by: str, selector: str = "") -> Query:
    return Query(f"sum by ({by}) (rate({metric}{selector}[5m]))", f"{{{{{by}}}}}")


def _ratio(counted: str, others: str, legend: str) -> Query:
    return Query(f"sum(rate({counted}[5m])) / sum(rate({others}[5m]))", legend)


SERVING: Final[tuple[Row, ...]] = (
    Row(
        "What customers get",
        (
            Panel(
                "Pages a second, by rung",
                "reqps",
                (_rate("racksort_request_seconds_count", "source", f"{{{_PAGES}}}"),),
            ),
            Panel(
                "Time of a page",
                "s",
                _quantiles("racksort_request_seconds", f"{{{_PAGES}}}"),
                "99 % of the pages take 50 ms at most.",
                0.05,
            ),
            Panel(
                "Budget burnt (1: just what is allowed)",
                "short",
                (
                    Query("racksort:slow:ratio_rate1h / 0.01", "slow, 1 h"),
                    Query("racksort:failed:ratio_rate1h / 0.001", "failed, 1 h"),
                ),
                line_at=14.4,
            ),
            Panel("Errors a second", "reqps", (_rate("racksort_problems_total", "status"),)),
        ),
    ),
    Row(
        "Why pages aren't full ones",
        (
            Panel(
                "Share of pages without the ensemble",
                "percentunit",
                (Query("racksort:fallback:ratio_rate5m", "share"),),
            ),
            Panel("Degraded answers a second, by reason", "reqps", (_rate("racksort_degraded_total", "reason"),)),
            Panel(
                "Circuit breakers that aren't closed",
                "short",
                (Query('sum by (dependency) (racksort_breaker_state{state!="closed"})', "{{dependency}}"),),
            ),
            Panel(
                "Limiter",
                "short",
                (
                    Query("sum(racksort_limit)", "may be ranked at the same time"),
                    Query("sum(racksort_limited)", "are being ranked or wait"),
                    Query("sum(rate(racksort_refused_total[5m]))", "refused a second"),
                ),
            ),
        ),
    ),
    Row(
        "Where the time goes",
        (
            Panel("Stages, p99", "s", _quantiles("racksort_stage_seconds", by="stage")[1:]),
            Panel("A call of the ensemble", "s", _quantiles("racksort_ensemble_call_seconds")),
            Panel(
                "Batches",
                "short",
                (
                    Query(
                        "sum by (bucket) (rate(racksort_batch_rows_sum[5m])) / sum by (bucket) "
                        "(rate(racksort_batch_rows_count[5m]))",
                        "rows a call, {{bucket}} candidates",
                    ),
                ),
                "64 are a full one.",
                64,
            ),
            Panel(
                "Padding",
                "percentunit",
                (
                    Query(
                        'sum(rate(racksort_cells_total{of="padding"}[5m])) / sum(rate(racksort_cells_total[5m]))',
                        "of the places in calls",
                    ),
                ),
                "Pools are padded to the next of a few sizes, and to the widest of their call.",
            ),
            Panel(
                "Waiting",
                "short",
                (
                    Query("sum(racksort_rows_waiting)", "rows"),
                    Query("sum(racksort_calls_in_flight)", "calls in flight"),
                ),
            ),
        ),
    ),
    Row(
        "Candidates, lists, rules, events",
        (
            Panel(
                "Age of the oldest pool",
                "s",
                (Query("max(racksort_pool_age_seconds)", "age"),),
                "Pages say stale_pool after 120 s.",
                120,
            ),
            Panel("A search of Elasticsearch", "s", _quantiles("racksort_search_seconds")),
            Panel(
                "Precomputed lists",
                "percentunit",
                (
                    Query("min(racksort_shadow_readiness)", "could be shown"),
                    Query("max(racksort_precomputed_age_seconds) / 86400", "age in days"),
                    _ratio(
                        "racksort_shadow_overlap_sum", "racksort_shadow_overlap_count", "overlap with what was served"
                    ),
                ),
            ),
            Panel(
                "Events a second; version of the rules",
                "short",
                (_rate("racksort_events_total", "outcome"), Query("max(racksort_rules_version)", "rules' version")),
            ),
        ),
    ),
    Row(
        "Pools and events in memory",
        (
            Panel(
                "Requests whose pool was at hand",
                "percentunit",
                (
                    Query(
                        "sum(rate(racksort_pool_hits_total[5m])) / (sum(rate(racksort_pool_hits_total[5m])) + "
                        "sum(rate(racksort_pool_misses_total[5m])))",
                        "share",
                    ),
                ),
                "The others waited for their pool.",
            ),
            Panel(
                "Pools a second",
                "short",
                (
                    Query("sum by (outcome) (rate(racksort_pool_refreshes_total[5m]))", "fetched: {{outcome}}"),
                    Query("sum(rate(racksort_pool_evictions_total[5m]))", "given up for others"),
                ),
            ),
            Panel(
                "Bytes in memory",
                "bytes",
                (
                    Query("max(racksort_pool_bytes)", "pools of an adapter"),
                    Query("max(racksort_event_bytes)", "events of an adapter"),
                ),
            ),
            Panel("What a request waits for events", "s", _quantiles("racksort_event_read_seconds")),
            Panel(
                "Calls of the shared store of events, a second",
                "short",
                (Query("sum by (of, outcome) (rate(racksort_event_calls_total[5m]))", "{{of}}: {{outcome}}"),),
                "Only where adapters share one.",
            ),
            Panel("A call of it", "s", _quantiles("racksort_event_call_seconds", by="of")[1:]),
        ),
    ),
    Row(
        "Releases",
        (
            Panel("Rankings a second, by release", "reqps", (_rate("racksort_release_requests_total", "release"),)),
            Panel("Time of a release's rankings", "s", _quantiles("racksort_release_seconds", by="release")),
            Panel(
                "Rankings that a release didn't make, a second",
                "reqps",
                (
                    _rate("racksort_release_degraded_total", "release"),
                    Query(
                        "sum by (release) (rate(racksort_release_diverted_total[5m]))", "{{release}}: the live one did"
                    ),
                ),
            ),
            Panel(
                "Version of the document",
                "short",
                (
                    Query("max(racksort_releases_version)", "newest"),
                    Query("min(racksort_releases_version)", "oldest that an adapter follows"),
                ),
            ),
        ),
    ),
    Row(
        "Two releases beside each other",
        (
            Panel(
                "Overlap of the first products",
                "percentunit",
                (
                    Query(
                        "sum by (role, release, depth) (rate(racksort_release_overlap_sum[5m])) / "
                        "sum by (role, release, depth) (rate(racksort_release_overlap_count[5m]))",
                        "{{role}} {{release}}, first {{depth}}",
                    ),
                ),
            ),
            Panel(
                "Rank-biased overlap",
                "percentunit",
                (
                    Query(
                        "sum by (role, release) (rate(racksort_release_rbo_sum[5m])) / "
                        "sum by (role, release) (rate(racksort_release_rbo_count[5m]))",
                        "{{role}} {{release}}",
                    ),
                ),
                "A canary whose mean is below 0.2 is taken back.",
                0.2,
            ),
            Panel(
                "Rows a second that both ranked",
                "short",
                (
                    Query("sum by (release) (rate(racksort_release_compared_total[5m]))", "{{release}}"),
                    Query("sum by (release) (rate(racksort_release_compare_failed_total[5m]))", "{{release}}, failed"),
                ),
            ),
            Panel(
                "Guards that are broken",
                "short",
                (Query("sum by (guard) (rate(racksort_release_guard_broken_total[5m]))", "{{guard}}"),),
            ),
        ),
    ),
    Row(
        "Triton",
        (
            Panel("Requests a second, by model", "reqps", (_rate("nv_inference_request_success", "model"),)),
            Panel(
                "Mean time in a model's queue",
                "s",
                (Query("max by (model) (racksort:triton_queue:seconds_rate5m)", "{{model}}"),),
            ),
            Panel(
                "Mean time of the model itself",
                "s",
                (
                    Query(
                        f"sum by (model) (rate(nv_inference_compute_infer_duration_us{{{_MODELS}}}[5m])) / 1e6 / "
                        f"sum by (model) (rate(nv_inference_request_success{{{_MODELS}}}[5m]))",
                        "{{model}}",
                    ),
                ),
            ),
            Panel(
                "Rows a call of a model",
                "short",
                (
                    Query(
                        f"sum by (model) (rate(nv_inference_count{{{_MODELS}}}[5m])) / "
                        f"sum by (model) (rate(nv_inference_exec_count{{{_MODELS}}}[5m]))",
                        "{{model}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "Adapters",
                "short",
                (
                    Query("sum(racksort_ready)", "ready"),
                    Query("sum(racksort_ensemble_up)", "whose last call succeeded"),
                ),
            ),
            Panel(
                "Connections",
                "short",
                (Query("sum(racksort_connections)", "open"), _rate("racksort_connections_closed_total", "cause")),
            ),
            Panel(
                "What is counted on for a stage",
                "s",
                (Query("max by (stage) (racksort_reckoned_seconds)", "{{stage}}"),),
            ),
            Panel(
                "Lines of the log and spans, a second",
                "short",
                (
                    Query("sum by (outcome) (rate(racksort_log_lines_total[5m]))", "lines: {{outcome}}"),
                    Query("sum by (outcome) (rate(racksort_spans_total[5m]))", "spans: {{outcome}}"),
                ),
            ),
        ),
    ),
)
