"""Who may reach whom."""

from __future__ import annotations

from collections.abc import Iterator

from tests.k8s.manifests import Object, Pod, of_kind, operated, pods, selects

Way = tuple[str, str, int]
"""Who asks (a component, or a namespace's label), who is asked, and the port."""
ANY = 0
"""Stands for every port."""
COMPONENT = "app.kubernetes.io/component"


def everybody(objects: list[Object]) -> Iterator[Pod]:
    """Our pods, and those that an operator makes for us."""
    yield from pods(objects)
    yield from operated(objects)


def denied_by_default(objects: list[Object]) -> list[str]:
    """One policy covers every pod and names no way."""
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        if spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"}:
            return [] if not spec.keys() & {"ingress", "egress"} else ["the policy for all pods names ways"]
    return ["no policy denies by default"]


def every_pod_covered(objects: list[Object]) -> list[str]:
    """Each workload has a policy of its own for what comes in and what goes out."""
    found = []
    for pod in everybody(objects):
        kinds = {
            kind
            for policy in of_kind(objects, "NetworkPolicy")
            if policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], pod.labels)
            for kind in policy["spec"]["policyTypes"]
        }
        if kinds != {"Ingress", "Egress"}:
            found.append(f"{pod.name}: no policy of its own for {sorted({'Ingress', 'Egress'} - kinds)}")
    return found


def both_ends_agree(objects: list[Object]) -> list[str]:
    """A way between two of our pods is allowed where it begins and where it ends, to a port that is open."""
    components = {pod.labels[COMPONENT]: pod for pod in everybody(objects)}
    inward, outward = ways(objects, "Ingress"), ways(objects, "Egress")
    found = [
        f"{way} is allowed at one end only" for way in sorted(inward ^ outward) if {way[0], way[1]} <= components.keys()
    ]
    for _, target, port in sorted(inward | outward):
        if target in components and port not in _ports(components[target]):
            found.append(f"{target} doesn't listen on {port}")
    return found


def _ports(pod: Pod) -> set[int]:
    return {port["containerPort"] for each in pod.containers for port in each.get("ports", [])}


def ways(objects: list[Object], direction: str) -> set[Way]:
    """All ways that the policies allow, as seen from one end."""
    found = set()
    labels = [pod.labels for pod in everybody(objects)]
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        mine = {each[COMPONENT] for each in labels if selects(spec["podSelector"], each)}
        rules, peers = (("ingress", "from"), ("egress", "to"))[direction == "Egress"]
        for rule in spec.get(rules, []):
            others = {name for peer in rule.get(peers, [{}]) for name in _named(peer, labels)}
            ports = {port["port"] for port in rule.get("ports", [{"port": ANY}])}
            pairs = {(me, other) for me in mine for other in others}
            found |= {
                (other, me, port) if direction == "Ingress" else (me, other, port)
                for me, other in pairs
                for port in ports
            }
    return found


def _named(peer: Object, labels: list[dict[str, str]]) -> set[str]:
    if "namespaceSelector" in peer:
        return {f"{key}={value}" for key, value in peer["namespaceSelector"]["matchLabels"].items()}
    if "podSelector" in peer:
        return {each[COMPONENT] for each in labels if selects(peer["podSelector"], each)}
    return {"anybody"}


TRITON_CALLERS = {"adapter", "precompute"}


def triton_is_asked_by_us_alone(objects: list[Object]) -> list[str]:
    """Only our own pods reach the port that ranks."""
    return [
        f"{way[0]} reaches Triton's gRPC port"
        for way in sorted(ways(objects, "Ingress"))
        if way[1] == "triton" and way[2] in {8001, ANY} and way[0] not in TRITON_CALLERS
    ]
