# Makes .venv with requirements.txt and this repository in it, and activates it. Sourced by the other .sh files.
# The stamp holds the files' hash, so a second run installs nothing.

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$repo/.venv"
stamp="$venv/requirements.sha256"
wanted="$(cat "$repo/requirements.txt" "$repo/pyproject.toml" | sha256sum | cut -d' ' -f1)"

# A picture or video that is not there is told of before minutes are spent; later Python tells.
if [[ ! -f "$stamp" ]]; then
    for argument in "$@"; do
        value="${argument#*=}"
        case "$argument" in
            image=?* | driving_video=?*)
                if [[ ! -e "$value" && ! -e "$repo/$value" ]]; then
                    echo "error: $value: expected a file (found none): nothing was installed" >&2
                    exit 2
                fi ;;
        esac
    done
fi

is_installed() {
    [[ -x "$venv/bin/python" && "$(cat "$stamp" 2>/dev/null || true)" == "$wanted" ]]
}

# Of two first runs the second waits and finds it installed; a venv that an interrupted one left without pip is made anew.
install() {
    if command -v flock > /dev/null; then flock 9; fi
    if is_installed; then return; fi
    if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
        echo "making $venv"
        python3 -m venv --clear "$venv"
    fi
    echo "installing requirements.txt (once, a few minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$repo/requirements.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$repo"
    echo "$wanted" > "$stamp"
}

if ! is_installed; then install 9> "$venv.lock"; fi
source "$venv/bin/activate"

# resolve_paths FOLDER ARGUMENT...: fills the array `arguments`, in which a relative path is meant from FOLDER, where the
# user stands; an input that is not there is left as it is.
resolve_paths() {
    local folder="$1" argument value
    shift
    arguments=()
    for argument in "$@"; do
        case "$argument" in
            image=?* | driving_video=?* | identities=?* | videos=?* | outputs=?*)
                value="${argument#*=}"
                if [[ "$value" != /* && ( "$argument" == outputs=* || -e "$folder/$value" ) ]]; then
                    value="$folder/$value"
                fi
                arguments+=("${argument%%=*}=$value") ;;
            *) arguments+=("$argument") ;;
        esac
    done
}
