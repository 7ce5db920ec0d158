# shellcheck shell=bash
# What the recipes share: options, settings, stages. A recipe sets `here` and `usage`, sources this,
# parses its arguments, sets `runs` and `exp_dir`, defines `find_audio`, and calls `main`.
set -euo pipefail
: "${here:?}" "${usage:?}"
recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$(command -v python || command -v python3 || true)}
stage=0
stop_stage=4
data_dir=
exp_dir=
metrics=-periodicity_rmse # of stage 3; that one takes longer than all others
audio=       # folder of the recordings
# shellcheck disable=SC2034
from_scratch=
runs=()      # of training: a name, a colon, and its settings files, one a line
skipped=()   # names of runs that are left out
optional=()  # names of runs that are left out unless --with names them
wanted=()    # by --with
layers=()    # settings files laid over those of every run
about=()     # options of the export: --speaker, --license
settings=()  # --set KEY=VALUE ...
arguments=() # what is no option

die() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 2
}

heading() {
    printf '== %s\n' "$1" >&2
}

diffwave() {
    "$python" -m diffwave.cli "$@"
}

# A name is a file of the recipe or of recipes/rates; anything else is a file as it stands.
settings_file() {
    local file
    for file in "$here/$1.yaml" "$recipes/rates/$1.yaml" "$1"; do
        if [[ -f $file ]]; then
            printf '%s\n' "$file"
            return
        fi
    done
    die "there is no configuration $1, neither $here/$1.yaml nor a file of that name"
}

parse_arguments() {
    local file
    while (($#)); do
        case $1 in
        -h | --help)
            printf '%s\n' "$usage"
            exit 0
            ;;
        --from-scratch)
            # shellcheck disable=SC2034
            from_scratch=yes
            ;;
        --*=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        --stage | --stop-stage | --data-dir | --config | --exp-dir | --metrics | --set | \
            --skip | --with | --speaker | --license)
            (($# > 1)) || die "$1 needs a value; see --help"
            case $1 in
            --stage) stage=$2 ;;
            --stop-stage) stop_stage=$2 ;;
            --data-dir) data_dir=$2 ;;
            --exp-dir) exp_dir=$2 ;;
            --metrics) metrics=$2 ;;
            --skip) skipped+=("$2") ;;
            --with) wanted+=("$2") ;;
            --speaker | --license) about+=("$1" "$2") ;;
            --config)
                file=$(settings_file "$2")
                layers+=("$file")
                ;;
            --set) settings+=(--set "$2") ;;
            esac
            shift
            ;;
        -*) die "there is no option $1; see --help" ;;
        *) arguments+=("$1") ;;
        esac
        shift
    done
    local number
    for number in "$stage" "$stop_stage"; do
        [[ $number =~ ^[0-4]$ ]] || die "a stage is a number from 0 to 4, not $number"
    done
    ((stage <= stop_stage)) || die "--stage $stage comes after --stop-stage $stop_stage"
    [[ -z $data_dir || -d $data_dir ]] || die "there is no folder $data_dir"
}

# Leaves out of `runs` what --skip names, and what is optional and not named by --with, but never all.
skip_runs() {
    local name run kept
    for name in ${wanted[@]+"${wanted[@]}"}; do
        [[ " ${optional[*]-} " == *" $name "* ]] || die "--with takes ${optional[*]-no run}, not $name"
    done
    for name in ${optional[@]+"${optional[@]}"}; do
        [[ " ${wanted[*]-} ${skipped[*]-} " == *" $name "* ]] || skipped+=("$name")
    done
    for name in ${skipped[@]+"${skipped[@]}"}; do
        kept=()
        for run in "${runs[@]}"; do
            [[ ${run%%:*} == "$name" ]] || kept+=("$run")
        done
        ((${#kept[@]} < ${#runs[@]})) || die "there is no run $name to skip; there are ${runs[*]%%:*}"
        ((${#kept[@]})) || die "--skip leaves no run"
        runs=("${kept[@]}")
    done
}

check_python() {
    [[ -n $python ]] || die "there is no python; set PYTHON to one"
    "$python" -c 'import diffwave' 2>/dev/null ||
        die "$python has no diffwave; pip install -e '.[train,eval]' in the project's folder"
    # What a later stage lacks is found now, not after hours of training.
    "$python" "$recipes/needs.py" "$stage" "$stop_stage" "$metrics" || exit 2
}

# Settings files of a run, one a line: its own, then what is laid over them.
files_of() {
    printf '%s\n' "${1#*:}" ${layers[@]+"${layers[@]}"}
}

prepare() {
    local options=() file
    while IFS= read -r file; do
        options+=(--config "$file")
    done < <(files_of "${runs[0]}")
    diffwave prepare "$audio" "$exp_dir/prepared" "${options[@]}" ${settings[@]+"${settings[@]}"}
}

# A path as a value of --set, which is YAML.
quoted() {
    local quote="'"
    printf "'%s'" "${1//$quote/$quote$quote}"
}

# Every run starts from the weights that the one before exported; a finished one is passed quickly.
train() {
    local run name init=() files file
    for run in "${runs[@]}"; do
        name=${run%%:*}
        heading "run $name"
        files=()
        while IFS= read -r file; do
            files+=("$file")
        done < <(files_of "$run")
        diffwave train "${files[@]}" ${settings[@]+"${settings[@]}"} ${init[@]+"${init[@]}"} \
            --set "data.folder=$(quoted "$exp_dir/prepared")" \
            --set "run.folder=$(quoted "$exp_dir/$name")"
        init=(--set "run.init=$(quoted "$exp_dir/$name/export")")
    done
}

evaluate() {
    local last=${runs[${#runs[@]} - 1]%%:*}
    "$python" "$recipes/held_out.py" "$exp_dir/prepared" "$exp_dir/held-out"
    diffwave evaluate "$exp_dir/held-out" --checkpoint "$exp_dir/$last/export" \
        --metrics="$metrics" --json "$exp_dir/scores.json" --json "$exp_dir/scores.md"
}

export_voice() {
    local last=${runs[${#runs[@]} - 1]%%:*} run options=()
    for run in "${runs[@]}"; do
        [[ ${run%%:*} == "$last" ]] || options+=(--after "$exp_dir/${run%%:*}")
    done
    [[ ! -f $exp_dir/scores.json ]] || options+=(--scores "$exp_dir/scores.json")
    diffwave export "$exp_dir/$last" "$exp_dir/voice" ${options[@]+"${options[@]}"} \
        --title "$(basename "$exp_dir")" ${about[@]+"${about[@]}"}
    printf 'Speak with it: python synthesize.py mel.npy out.wav --checkpoint %s\n' "$exp_dir/voice"
}

wanted() {
    ((stage <= $1 && $1 <= stop_stage))
}

main() {
    # Training answers a signal by a checkpoint and ends well; the stages after it must not follow.
    trap 'printf "%s: stopped; the same command goes on.\n" "$0" >&2; exit 130' INT
    trap 'printf "%s: stopped; the same command goes on.\n" "$0" >&2; exit 143' TERM
    skip_runs
    check_python
    mkdir -p "$exp_dir" 2>/dev/null || die "cannot make the folder $exp_dir"
    if wanted 0; then
        heading "stage 0: audio"
        find_audio get
    fi
    if wanted 1; then
        heading "stage 1: prepare"
        find_audio
        prepare
    fi
    if wanted 2; then
        heading "stage 2: train"
        train
    fi
    if wanted 3; then
        heading "stage 3: evaluate"
        evaluate
    fi
    if wanted 4; then
        heading "stage 4: export"
        export_voice
    fi
}
