"""The commands of docs/operations.md: what they name is there, and the verbs take the options that they are given."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from typer.testing import CliRunner

from racksort.cli import app
from tests.k8s.manifests import ROOT, container, folder, kubectl, of_kind, pods, render, variables

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
NAMED: Final = {"deployment": "Deployment", "cronjob": "CronJob"}


def commands(program: str) -> Iterator[list[str]]:
    """Every command of a program: in the page's code, by line or within a sentence."""
    code = re.findall(r"^ {4,}(.*)$", PAGE, re.MULTILINE) + re.findall(r"`([^`\n]+)`", PAGE)
    for line in code:
        for part in re.split(r"&&|\|\||[;|]", line):
            found = re.match(rf"\s*{program} (.*)", part)
            if found:
                yield [word.strip("'\"") for word in found[1].split(" # ")[0].rstrip("\\ ").split()]


def test_the_page_has_a_command_for_each_operation() -> None:
    given = " ".join(" ".join(each) for each in commands("kubectl"))
    for needed in ("apply -k", "diff -k", "rollout status", "rollout undo", "rollout restart", "drain NODE"):
        assert needed in given
    verbs = " ".join(" ".join(each) for each in commands("racksort"))
    for needed in ("release canary", "release rollback", "rules rollback", "catalog rollback", "precompute"):
        assert needed in verbs


@pytest.mark.parametrize("kind", NAMED)
def test_workloads_that_commands_name_are_in_the_manifests(kind: str) -> None:
    there = {each["metadata"]["name"] for each in of_kind(render("everything"), NAMED[kind])}
    named = {
        word.split("=")[-1].split("/")[1]
        for each in commands("kubectl")
        for word in each
        if re.fullmatch(rf"(--from=)?{kind}/.+", word)
    }
    assert named
    assert named <= there


def test_secrets_that_are_made_are_those_that_pods_refer_to() -> None:
    objects = render("cpu")
    made = {
        f"secret:{each[3]}/{option.removeprefix('--from-literal=').split('=')[0]}"
        for each in commands("kubectl")
        if each[:3] == ["create", "secret", "generic"]
        for option in each[4:]
        if option.startswith("--from-literal=")
    }
    referred = {
        value
        for component in ("adapter", "precompute")
        for value in variables(objects, container(objects, component)).values()
        if value.startswith("secret:")
    }
    assert made == referred


def test_labels_that_are_set_are_those_that_network_policies_ask_for() -> None:
    asked = {
        f"{key}={value}"
        for policy in of_kind(render("everything"), "NetworkPolicy")
        for rules in ("ingress", "egress")
        for rule in policy["spec"].get(rules, [])
        for peer in [*rule.get("from", []), *rule.get("to", [])]
        for key, value in peer.get("namespaceSelector", {}).get("matchLabels", {}).items()
        if key.startswith("racksort.io/")
    }
    assert {each[3] for each in commands("kubectl") if each[:2] == ["label", "namespace"]} == asked


def test_folders_and_components_that_are_named_exist() -> None:
    for each in commands("kubectl"):
        for option in ("-k", "-f"):
            if option in each:
                assert (ROOT / each[each.index(option) + 1]).exists()
    components = {each.labels["app.kubernetes.io/component"] for each in pods(render("everything"))}
    named = re.findall(r"app\.kubernetes\.io/component=(\w+)", PAGE)
    assert named
    assert set(named) <= components
    assert folder("cpu").is_dir()


def test_options_of_kubectl_are_ones_that_it_knows() -> None:

    for words in (["rollout", "undo"], ["rollout", "restart"], ["rollout", "status"], ["drain"], ["create", "job"]):
        used = {
            word.split("=")[0]
            for each in commands("kubectl")
            if each[: len(words)] == words
            for word in each
            if word.startswith("--")
        }
        told = subprocess.run([kubectl(), *words, "--help"], capture_output=True, text=True, check=True).stdout
        assert {option for option in used if f"{option}=" not in told} == set()


def test_verbs_and_options_of_racksort_are_ones_that_it_has() -> None:
    seen = set()
    for each in commands("racksort"):
        verb = [word for word in each[:2] if re.fullmatch(r"[a-z]+", word)]
        shown = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, each
        for option in (word.split("=")[0] for word in each if word.startswith("--")):
            assert option in shown.output, (each, option)
            seen.add(option)
    assert "--releases" in seen


def test_the_probe_that_is_run_by_hand_is_the_pods_own() -> None:
    (run,) = [each for each in commands("kubectl") if "ensemble.runtime.probe" in each]
    command = container(render("cpu"), "triton")["startupProbe"]["exec"]["command"]
    assert run[run.index("--") + 1 :] == command
