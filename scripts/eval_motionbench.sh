#!/usr/bin/env bash
# MotionBench: bash scripts/eval_motionbench.sh --config configs/motionbench_demo.yaml [key=value ...]
# PROCESSES=8 takes so many processes (and GPUs, where there are any). The same command goes on where it stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
resolve_paths "$PWD" "$@"
cd "$repo"
launch=(python)
if [[ "${PROCESSES:-1}" != 1 ]]; then
    launch=(python -m torch.distributed.run --standalone --nproc_per_node "$PROCESSES")
fi
exec "${launch[@]}" scripts/eval_motionbench.py "${arguments[@]+"${arguments[@]}"}"
