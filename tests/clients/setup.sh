#!/usr/bin/env bash
# Makes the virtual environments of the client tests, or those named: setup.sh [triton] [kserve] [perf] [k8s] [triton-old] [opencv] [schemathesis]
# They stand in target/venvs and are left alone while their requirements stay as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ "$#" -gt 0 ] || set -- triton kserve perf k8s triton-old opencv schemathesis
for name in "$@"; do
  requirements="tests/clients/requirements-$name.txt"
  venv="target/venvs/$name"
  if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3.11 -m venv "$venv"
    "$venv/bin/pip" install -q -r "$requirements" </dev/null
    cp "$requirements" "$venv/installed.txt"
  fi
done
