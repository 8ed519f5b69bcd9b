#!/usr/bin/env bash
# Your own photograph moves: bash scripts/photo.sh image=me.jpg prompt="She waves, then jumps." [key=value ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
resolve_paths "$PWD" "$@"
cd "$repo"

# any_file FILE...: is one of them there?
any_file() {
    local file
    for file in "$@"; do [[ -f "$file" ]] && return; done
    return 1
}

if ! python -c "import ai_edge_litert" 2>/dev/null; then
    echo "installing requirements-photo.txt (once)"
    python -m pip install --quiet --disable-pip-version-check -r requirements-photo.txt
fi
for network in pose_detection pose_landmark_full hand_recrop hand_landmark_full face_detection_short_range face_landmark; do
    if [[ ! -f "weights/mediapipe/$network.tflite" ]]; then
        python scripts/download_weights.py photograph
        break
    fi
done
motion=()                                                                  # T2M-GPT's published weights, where they are whole
if any_file weights/t2m/{vqvae.safetensors,net_last.pth,{,pretrained/}VQVAE/net_last.pth} \
    && any_file weights/t2m/{gpt.safetensors,net_best_fid.pth,{,pretrained/}VQTransformer_corruption05/net_best_fid.pth}; then
    motion=(motion.weights=weights/t2m)
fi
exec python inference.py --config configs/photo.yaml "${motion[@]+"${motion[@]}"}" "${arguments[@]+"${arguments[@]}"}"
