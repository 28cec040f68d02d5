#!/bin/sh
# Make .venv with the pinned packages and this package in it; instant when that is done already.
# usage: launch/setup.sh [LOCK ...]   more lock files to install, e.g. requirements-tpu.lock
# VENV and LOCK name another place and another first lock file, for what can't live beside the rest.
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
LOCK=${LOCK:-requirements.lock}

say() { printf '%s\n' "setup: $*" >&2; }

# New enough, and able to make a virtual environment (some systems split that off).
usable() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(not (3, 12) <= sys.version_info < (4,))' \
        >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" python3.12 python3.13 \
        "$(pyenv prefix 2>/dev/null || true)/bin/python" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python \
        "$(uv python find '>=3.12' 2>/dev/null || true)" \
        python3 python3.14 /opt/homebrew/bin/python3 /usr/local/bin/python3; do
        if [ -n "$candidate" ] && usable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no Python 3.12 or newer found; install one (python3.12 with venv, pyenv or uv)" \
        "or name it: make setup PYTHON=/path/to/python3.12"
    return 1
}

# uv is several times faster; it does not read pip's settings, so pip has the last word.
install() {
    if command -v uv >/dev/null 2>&1 &&
        uv pip install --quiet --python "$VENV"/bin/python "$@" 2>/dev/null; then
        return
    fi
    "$VENV"/bin/python -m pip install -qq --disable-pip-version-check "$@"
}

# One line for each thing that is installed; all of them there means there is nothing to do.
wanted=$(for file in setup.cfg "$LOCK" "$@"; do cksum "$file"; done; pwd)
is_done() {
    [ -f "$VENV"/.stamp ] && usable "$VENV"/bin/python &&
        [ -z "$(printf '%s\n' "$wanted" | grep -Fxv -f "$VENV"/.stamp)" ]
}
if is_done; then
    exit 0
fi

started=$(date +%s)
if ! usable "$VENV"/bin/python; then
    python=$(find_python)
    say "making $VENV with $("$python" --version)"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
fi
rm -f "$VENV"/.stamp
for lock in "$LOCK" "$@"; do
    say "installing $lock"
    install --require-hashes --no-deps -r "$lock"
done
install --no-deps --no-build-isolation --editable .
echo $(($(date +%s) - started)) >"$VENV"/setup_seconds
printf '%s\n' "$wanted" >"$VENV"/.stamp
say "done in $(cat "$VENV/setup_seconds") s"
