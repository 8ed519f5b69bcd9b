#!/usr/bin/env bash
# The whole pipeline on the shipped weights: bash scripts/demo.sh [key=value ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
resolve_paths "$PWD" "$@"
cd "$repo"
exec python inference.py --config configs/demo.yaml "${arguments[@]+"${arguments[@]}"}"
