#!/bin/sh
# Runs the tests in two parts: those that no neighbour can disturb side by side, one process a core, then those marked
# "alone", one by one. Both parts run whatever the first one finds, and either can fail the whole:
#   scripts/test.sh "not slow" tests/unit -k ranking
# The first argument is a marker expression; the others go to pytest. Its exit statuses: 0 passed, 1 failed, 5 no tests.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
which=$1
shift

# The tests start many processes: what Python compiles is kept, apart from the sources, even where the environment says
# otherwise.
export PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="${PYTHONPYCACHEPREFIX:-$PWD/.venv/bytecode}"

# Each core has a process already: threads of libraries on top would only wait for each other, busily.
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1 \
    "$python" -m pytest -n "$(nproc)" --maxprocesses 8 --dist worksteal -m "($which) and not alone" "$@"
first=$?
case $first in
    0 | 1 | 5) ;;
    *) exit $first ;; # interrupted, or nothing that the second part could do better
esac
"$python" -m pytest -m "($which) and alone" "$@"
second=$?
[ $first -eq 5 ] && exit $second
[ $first -eq 0 ] && [ $second -ne 5 ] && exit $second
exit $first
