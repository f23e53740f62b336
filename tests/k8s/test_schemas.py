"""Every rendered object fits Kubernetes' own schemas of the oldest and the newest version, without unknown fields."""

from __future__ import annotations

from typing import Final

import kubernetes_validate
import pytest

from tests.k8s.manifests import OVERLAYS, Object, one, render

VERSIONS: Final = ("1.33", "1.37")
DEFINED_ELSEWHERE: Final = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch"),
}
"""Of operators; Kubernetes has no schema for them. tests/k8s/test_monitoring.py looks into the first two."""


def faults(objects: list[Object], version: str) -> list[str]:
    found = []
    for each in objects:
        if (each["apiVersion"], each["kind"]) in DEFINED_ELSEWHERE:
            continue
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{each['kind']} {each['metadata']['name']}: {error.message}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_fits_its_schema(overlay: str, version: str) -> None:
    assert faults(render(overlay), version) == []


def test_an_object_that_does_not_fit_is_found() -> None:
    objects = render("cpu")
    one(objects, "Deployment", "racksort-triton")["spec"]["replica"] = 3
    one(objects, "PodDisruptionBudget", "racksort-triton")["apiVersion"] = "policy/v1beta1"
    one(objects, "CronJob", "racksort-precompute")["spec"]["schedule"] = 3
    said = "\n".join(faults(objects, "1.37"))
    assert "Deployment racksort-triton: Additional properties are not allowed ('replica' was unexpected)" in said
    assert "PodDisruptionBudget racksort-triton: Couldn't find schema" in said
    assert "CronJob racksort-precompute: 3 is not of type 'string'" in said
