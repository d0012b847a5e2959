#!/bin/sh
# Usage: venv.sh FOLDER REQUIREMENT
# Makes a virtual environment with the newest Python at hand (3.11 or newer) and installs the project into it.
set -eu
venv=$1
requirement=$2

if [ ! -x "$venv/bin/python" ]; then
    python=
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python 3.11 or newer is needed, and none of python3, python3.11 ... python3.14 is. Set PYTHON=/path/to/it." >&2
        exit 1
    fi
    echo "Making a virtual environment in $venv with $("$python" --version) ..." >&2
    if ! "$python" -m venv "$venv" >&2; then
        rm -rf "$venv"
        echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi

echo "Installing into $venv ..." >&2
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$requirement" >&2; then
    echo "The packages could not be installed (see above). Is there a way to the package index from here?" >&2
    exit 1
fi
