#!/usr/bin/env bash
# The whole pipeline on the shipped weights: bash scripts/demo.sh [key=value ...]
set -euo pipefail
invoked_from="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

# a relative picture or video is meant from where the user stands
arguments=()
for argument in "$@"; do
    case "$argument" in
        image=* | driving_video=* | outputs=*)
            value="${argument#*=}"
            if [[ "$value" != /* && ( "$argument" == outputs=* || -e "$invoked_from/$value" ) ]]; then
                value="$invoked_from/$value"
            fi
            arguments+=("${argument%%=*}=$value") ;;
        *) arguments+=("$argument") ;;
    esac
done

cd "$repo"
exec python inference.py --config configs/demo.yaml "${arguments[@]+"${arguments[@]}"}"
