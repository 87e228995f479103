#!/usr/bin/env bash
# The tests of the Django part with Django 4.2, 5.2 and the newest, as far as they do not run in the active environment.
set -euo pipefail
cd "$(dirname "$0")/../../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

run() {
    printf -- '-- Python %s, Django %s\n' "$("$1" -c 'import platform; print(platform.python_version())')" \
        "$("$1" -m django --version)"
    "$1" -m pytest -q -n 1 -m "not timing" tests/contrib/django
}

active=$(python -m django --version)
for version in 4.2 5.2; do
    if [[ $active != "$version".* ]]; then
        .ci/layer "$scratch/django$version" "django~=$version.0"
        run "$scratch/django$version/bin/python"
    fi
done

# Where the newest Django wants a newer Python than the active one, it has an environment with what those tests need.
if python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
    for newer in python3.13 python3.12 ~/.pyenv/versions/3.1[23].*/bin/python3; do
        if "$newer" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            "$newer" -m venv "$scratch/newer"
            "$scratch/newer/bin/python" -m pip install --quiet '.[django,server,auth,redis]' \
                celery gevent gunicorn hypothesis pytest pytest-timeout pytest-xdist
            run "$scratch/newer/bin/python"
            exit
        fi
    done
    echo "-- no newer Python is installed, so that the newest Django is not tested"
fi
