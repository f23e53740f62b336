#!/bin/sh
# Makes .venv and installs a hashed lock into it: scripts/bootstrap.sh requirements/serve.txt
# Needs Python 3.11. What Debian splits off its Python (venv, libpython3.11) is fetched where that is possible.
set -eu
cd "$(dirname "$0")/.."
lock=$1
python=${PYTHON:-python3.11}
say() { printf 'racksort: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

command -v "$python" >/dev/null 2>&1 || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    fail "Python 3.11 is needed ('$python' isn't it): install python3.11, or run make with PYTHON=/path/to/python3.11"

install_package() { # as root only; anyone else is told what to run
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "installing $1"
    apt-get install -y -qq "$1" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq "$1"; } >/dev/null 2>&1
}

make_venv() { "$python" -m venv .venv >/dev/null 2>&1; }
if [ ! -x .venv/bin/pip ]; then
    make_venv || { install_package python3.11-venv && rm -rf .venv && make_venv; } ||
        { rm -rf .venv; fail "can't make a virtual environment: run 'apt-get install python3.11-venv' and try again"; }
fi

# Triton's Python backend is linked with libpython3.11, which Debian ships apart from the interpreter.
have_libpython() { .venv/bin/python -c 'from ctypes import CDLL; CDLL("libpython3.11.so.1.0")' 2>/dev/null; }
own_libpython() {
    .venv/bin/python -c 'import os, sys, sysconfig as s
sys.exit(not any(os.path.exists(f"{d}/libpython3.11.so.1.0") for d in (s.get_config_var("LIBDIR"), sys.prefix + "/lib")))'
}
unpack_libpython() { # without root: Debian's package, unpacked into the virtual environment
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -qq libpython3.11 && dpkg -x ./*.deb .) >/dev/null 2>&1 &&
        cp -L "$folder"/usr/lib/*/libpython3.11.so.1.0 .venv/lib/
    status=$?
    rm -rf "$folder"
    return $status
}
own_libpython || have_libpython || install_package libpython3.11 || unpack_libpython ||
    fail "Triton's Python backend needs libpython3.11: run 'apt-get install libpython3.11' and try again"

.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
.venv/bin/uv pip install --quiet --python .venv --require-hashes -r "$lock"
.venv/bin/uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
