#!/usr/bin/env bash
# Rebuilds everything in weights/demo, in order. Every step is seeded, resumable, and skipped when it is done:
# interrupt it and run it again. About four hours on two CPU cores; PROCESSES=8 on a larger machine.
#     bash scripts/train_demo.sh [folder for weights, default weights/demo_rebuilt]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$repo"

weights="${1:-weights/demo_rebuilt}"
data=data/demo
runs=outputs/train_demo
export OMP_NUM_THREADS=1 ACCELERATE_USE_CPU="${ACCELERATE_USE_CPU:-true}"
parallel() { python -m torch.distributed.run --standalone --nproc_per_node "${PROCESSES:-2}" "$@"; }
done_once() { local mark="$runs/$1.done"; shift; [[ -e "$mark" ]] || { "$@"; mkdir -p "$runs"; touch "$mark"; }; }

# characters: many people in a few poses each, and fewer people in motion
python scripts/prepare_demo_clips.py "$data/pictures" --clips 4000 --frames 3 --fps 1.2
python scripts/prepare_demo_clips.py "$data/clips" --clips 400 --frames 12 --first-seed 500000

# text to motion, and the pose detector
python scripts/train_demo_t2m.py --work "$runs/t2m" --out "$weights/t2m"
python scripts/train_demo_pose.py --clips "$data/pictures" --work "$runs/pose" --out "$weights/dwpose"

# pictures: the VAE, then its latents
done_once init python scripts/init_demo_models.py "$weights/svd" --video "$runs/video_init" --adapter "$runs/adapter_init"
done_once vae parallel scripts/train_demo_vae.py "$data/pictures" "$weights/svd/vae"
parallel scripts/prepare_demo_clips.py "$data/pictures" --encode "$weights/svd/vae"
parallel scripts/prepare_demo_clips.py "$data/clips" --encode "$weights/svd/vae"
parallel scripts/prepare_demo_clips.py "$data/pictures" --encode "$weights/svd/vae" --poses
done_once decoder parallel scripts/train_demo_vae.py "$data/pictures" "$weights/svd/vae" --decoder-only \
    --steps 1200 --crop 128 --batch-size 4 --learning-rate 0.01 --detail-weight 3

# the video model, on pictures and then on clips; the adapter
done_once pictures parallel train_video_generation.py --config configs/train_video_demo.yaml svd="$weights/svd" \
    checkpoint="$runs/video_init" cache="$data/pictures" train.output="$runs/video_pictures"
cp -r "$runs/video_pictures/image_encoder" "$weights/svd/"
done_once clips parallel train_video_generation.py --config configs/train_video_demo_clips.yaml svd="$weights/svd" \
    checkpoint="$runs/video_pictures" cache="$data/clips" train.output="$runs/video_clips"
done_once adapter parallel train_skeleton_adapter.py --config configs/train_adapter_demo.yaml svd="$weights/svd" \
    checkpoint="$runs/adapter_init" cache="$data/pictures" train.output="$runs/adapter"
for model in video adapter; do mkdir -p "$weights/$model"; done
cp "$runs/video_clips/"{config.json,model.safetensors} "$weights/video/"
cp "$runs/adapter/"{config.json,model.safetensors} "$weights/adapter/"

python scripts/evaluate_demo.py --weights "$weights"
