#!/usr/bin/env bash
# Runs the tests of the Django part with Django 4.2, 5.2 and the newest; in the virtual environment that is active, and
# in one of its own, made in the folder that is named, where the newest Django wants a newer Python than that one is.
set -euo pipefail
cd "$(dirname "$0")/../.."

run() {
    printf -- '-- Python %s, Django %s\n' "$("$1" -c 'import platform; print(platform.python_version())')" \
        "$("$1" -m django --version)"
    "$1" -m pytest --no-cov -q tests/contrib/test_django*.py
}

before=$(python -m django --version)
for version in 4.2 5.2; do
    if [[ $before != "$version".* ]]; then
        python -m pip install --quiet "django~=$version.0"
        run python
    fi
done
python -m pip install --quiet "django==$before"
run python

if python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
    for newer in python3.13 python3.12 ~/.pyenv/versions/3.1[23].*/bin/python3; do
        if "$newer" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            "$newer" -m venv "$1/newer"
            "$1/newer/bin/python" -m pip install --quiet '.[test]'
            run "$1/newer/bin/python"
            exit
        fi
    done
    echo "-- no newer Python is here, so that was the newest Django"
fi
