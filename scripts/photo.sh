#!/usr/bin/env bash
# Your own photograph moves: bash scripts/photo.sh image=me.jpg prompt="She waves, then jumps." [key=value ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
resolve_paths "$PWD" "$@"
cd "$repo"
if ! python -c "import ai_edge_litert" 2>/dev/null; then
    echo "installing requirements-photo.txt (once)"
    python -m pip install --quiet --disable-pip-version-check -r requirements-photo.txt
fi
[[ -d weights/mediapipe ]] || python scripts/download_weights.py photograph
motion=()
[[ -d weights/t2m ]] && motion=(motion.weights=weights/t2m)                # T2M-GPT's published weights, where they are
exec python inference.py --config configs/photo.yaml "${motion[@]+"${motion[@]}"}" "${arguments[@]+"${arguments[@]}"}"
