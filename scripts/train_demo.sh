#!/usr/bin/env bash
# Rebuilds everything in weights/demo, in order. Every step is seeded, resumable, and skipped when it is done:
# interrupt it and run it again. About seven hours on two CPU cores, by the time of its steps; PROCESSES=8 on a larger machine.
#     bash scripts/train_demo.sh [folder for weights, default weights/demo_rebuilt]
#     MOCAP=FOLDER bash scripts/train_demo.sh # text to motion on real motion too; demo/mocap.py says what it holds
#     QUICK=1 bash scripts/train_demo.sh      # a few pictures and steps of everything, to see that all of it runs
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$repo"

suffix="${QUICK:+_quick}"
weights="${1:-weights/demo_rebuilt$suffix}"
data="data/demo$suffix"
runs="outputs/train_demo$suffix"
export OMP_NUM_THREADS=1 ACCELERATE_USE_CPU="${ACCELERATE_USE_CPU:-true}"
parallel() { python -m torch.distributed.run --standalone --nproc_per_node "${PROCESSES:-2}" "$@"; }
if compgen -G "$runs/*.done" > /dev/null && [[ ! -d "$weights/svd" || "$(realpath "$weights")" != "$(cat "$runs/weights" 2> /dev/null)" ]]; then
    echo "error: $weights: expected the folder of the training in $runs (found another, or it is gone): name that one, or delete $runs" >&2
    exit 2
fi
mkdir -p "$weights" "$runs" && realpath "$weights" > "$runs/weights"
done_once() { local mark="$runs/$1.done"; shift; [[ -e "$mark" ]] || { "$@"; mkdir -p "$runs"; touch "$mark"; }; }
quick() { [[ -z "${QUICK:-}" ]] || echo "$@"; }          # the arguments of a quick run; a later one wins

# characters: many people in a few poses each
python demo/prepare_clips.py "$data" --clips 9000 --frames 3 --fps 1.2 $(quick --clips 24)

# text to motion, and the pose detector
python demo/train_t2m.py --work "$runs/t2m${MOCAP:+_real}" --out "$weights/t2m" ${MOCAP:+--mocap "$MOCAP"} \
    $(quick --motions 600 --vqvae-steps 8 --text-steps 8 --gpt-steps 8)
python demo/train_pose.py --clips "$data" --work "$runs/pose" --out "$weights/dwpose" \
    $(quick --person-steps 8 --pose-steps 8 4)

# pictures: the VAE, then its latents
done_once init python demo/init_models.py "$weights/svd" --video "$runs/video_init" --adapter "$runs/adapter_init"
done_once vae parallel demo/train_vae.py "$data" "$weights/svd/vae" --detail-weight 4 --kl-weight 1e-4 $(quick --steps 4)
parallel demo/prepare_clips.py "$data" --encode "$weights/svd/vae" --limit 5200
parallel demo/prepare_clips.py "$data" --encode "$weights/svd/vae" --limit 2400 --what poses
parallel demo/prepare_clips.py "$data" --move --limit 5200
done_once decoder parallel demo/train_vae.py "$data" "$weights/svd/vae" --decoder-only \
    --steps 1200 --crop 128 --batch-size 4 --learning-rate 0.01 --detail-weight 3 $(quick --steps 4)

done_once tiny_vae parallel demo/train_vae.py "$data" "$weights/svd/vae" --tiny "$weights/svd/tiny_vae" \
    --steps 4000 --crop 128 --batch-size 6 --learning-rate 0.02 --detail-weight 4 --pose-share 0.25 $(quick --steps 4)
parallel demo/prepare_clips.py "$data" --encode "$weights/svd/vae" --tiny "$weights/svd/tiny_vae" --what moved --limit 5200

# text to video, for scripts/demo_customization.sh
done_once text_to_video python demo/train_text_to_video.py "$weights/text_to_video" --work "$runs/text_to_video" \
    --vae "$weights/svd/vae" $(quick --clips 1 --steps 2)

# the video model and the adapter, on single pictures: their temporal branches stay silent
done_once video parallel train_video_generation.py --config configs/train_video_demo.yaml svd="$weights/svd" \
    checkpoint="$runs/video_init" cache="$data" train.output="$runs/video" $(quick train.max_steps=4)
cp -r "$runs/video/image_encoder" "$weights/svd/"
done_once adapter parallel train_skeleton_adapter.py --config configs/train_adapter_demo.yaml svd="$weights/svd" \
    checkpoint="$runs/adapter_init" cache="$data" train.output="$runs/adapter" $(quick train.max_steps=4)
for model in video adapter; do
    mkdir -p "$weights/$model"
    cp "$runs/$model/"{config.json,model.safetensors} "$weights/$model/"
done

# the decoder again, on what the video model draws
parallel demo/prepare_clips.py "$data" --draw "$weights/svd" "$weights/video" --limit 2400
done_once drawn parallel demo/train_vae.py "$data" "$weights/svd/vae" --decoder-only --drawn-share 0.8 --latent-noise 0 --pose-share 0.03 \
    --steps 2500 --crop 128 --batch-size 8 --learning-rate 0.008 --detail-weight 5 $(quick --steps 4)

python scripts/evaluate_demo.py --weights "$weights" $(quick --only round_trip rescaling --clips 2)
