# Makes .venv with requirements.txt and activates it. Sourced by demo.sh and test.sh.
# The stamp holds the file's hash, so a second run installs nothing.

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$repo/.venv"
stamp="$venv/requirements.sha256"
wanted="$(sha256sum "$repo/requirements.txt" | cut -d' ' -f1)"

if [[ ! -x "$venv/bin/python" ]]; then
    echo "making $venv"
    python3 -m venv "$venv"
fi
if [[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]]; then
    echo "installing requirements.txt (once, a few minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$repo/requirements.txt"
    echo "$wanted" > "$stamp"
fi
source "$venv/bin/activate"
