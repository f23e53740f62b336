from __future__ import annotations

import pytest

from racksort.dev.elasticsearch_log import reason

ZONE = 'WARNING: Use of the three-letter time zone ID "ACT" is deprecated and it will be removed in a future release\n'


TRACE = "\tat org.x.Y.z(Y.java:4)\n"
LOCKED = (
    "[2026-11-24T18:42:29,430][ERROR][o.e.b.Elasticsearch      ] [vm] fatal exception while booting Elasticsearch "
    f"java.lang.IllegalStateException: failed to obtain node locks, tried [/srv/data]\n{TRACE}"
    "ERROR: Elasticsearch did not exit normally - check the logs\n"
)
TOO_SMALL = (
    "java.lang.RuntimeException: starting java failed with [1]\noutput:\n"
    f"Error occurred during initialization of VM\nToo small maximum heap\nerror:\n\n{TRACE}"
)
TOO_LARGE = "output:\n#\n# There is insufficient memory for the JVM to continue.\n# Native memory allocation failed\n"
EXHAUSTED = "Terminating due to java.lang.OutOfMemoryError: Java heap space"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (LOCKED, "failed to obtain node locks, tried [/srv/data]"),
        (TOO_SMALL, "Too small maximum heap"),
        (TOO_LARGE, "There is insufficient memory for the JVM to continue"),
        (f"{EXHAUSTED}\n", EXHAUSTED),
        ("ERROR: the keystore is broken\n", "the keystore is broken"),
        (f"something\n{TRACE}{ZONE}", "something"),
        (ZONE, "it wrote no reason"),
        ("NOTE: Picked up JDK_JAVA_OPTIONS: -XX:-UsePerfData\n", "it wrote no reason"),
        ("", "it wrote no reason"),
    ],
)
def test_the_line_that_says_why_is_found(log: str, said: str) -> None:
    assert reason(log) == said
