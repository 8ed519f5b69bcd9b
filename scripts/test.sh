#!/usr/bin/env bash
# The test suite on the CPU, offline: bash scripts/test.sh [pytest arguments]; -m slow: what is left out otherwise
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$repo"
exec python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal -m "not slow" "$@"
