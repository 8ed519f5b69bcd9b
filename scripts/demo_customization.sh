#!/usr/bin/env bash
# A tiny text-to-video model learns a motion it never saw from five clips, with the commands that teach a large one, and
# draws it on people and in colours that are not in the clips. Every step is seeded, resumable, and skipped when it is
# done. The table and a gallery of each run end up in outputs/demo_customization.
#     bash scripts/demo_customization.sh
#     QUICK=1 bash scripts/demo_customization.sh      # a few steps and videos of everything, to see that all of it runs
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
cd "$repo"

out="outputs/demo_customization${QUICK:+_quick}"
export ACCELERATE_USE_CPU="${ACCELERATE_USE_CPU:-true}"
quick() { [[ -z "${QUICK:-}" ]] || echo "$@"; }          # the arguments of a quick run; a later one wins
videos() {                                               # videos NAME WEIGHTS: those of every prompt, and their gallery
    python generate_customized.py -m "$2" -o "$out/$1/videos" -p "$out/prompts.txt" --exemplars "$out/exemplars" \
        -r 96x80 -d 8 -steps 12 -guidance 2 $(quick -steps 1)
}
customized() {                                           # customized NAME SETTING...: a training, then its videos
    local name="$1" began="$SECONDS"; shift
    if [[ ! -e "$out/$name/seconds" ]]; then
        echo "== $name: learning the motion from five clips"
        python train_motion_customization.py --config configs/train_motion_customization_demo.yaml model="$out/base" \
            exemplars="$out/exemplars" prior="$out/prior" cache="$out/latents" "$@" train.output="$out/$name/model" \
            $(quick train.max_steps=2)
        echo "$((SECONDS - began))" > "$out/$name/seconds"
    fi
    videos "$name" "$out/$name/model"
}

python scripts/demo_customization.py prepare "$out" $(quick --draws 0)
echo "== before: what the untaught model makes of the prompts"
videos before "$out/base"
customized customized
customized no_prior prior=null
customized no_tilt sampling=uniform
customized debiasing debiasing=1
python scripts/demo_customization.py measure "$out" $(quick --examples 1)
