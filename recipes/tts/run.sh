#!/usr/bin/env bash
# Text to speech in the bundled vocoder's mels: from recordings and texts to an acoustic model. See README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: bash recipes/tts/run.sh CORPORA SPEAKER [SPEAKER ...] [options]

CORPORA/SPEAKER holds metadata.csv (id|text|normalised text) and wavs/, as LJSpeech does.
Stages: 1 prepare (phonemes, levels, mels, F0), 2 align (which frames each phoneme has), 3 train,
4 write the mels that the model predicts for the utterances that were held out.

  --stage N         first stage (1)
  --stop-stage N    last stage (4)
  --exp-dir DIR     where everything is kept (runs/tts)
  --minutes M       of training (9, for a GPU; a CPU needs a night)
  --held-out REGEX  ids that are never trained on (LJ001-0001 to 0016, ARCTIC prompts that end in 7)
  --jobs N          processes of stages 1 and 2 (2)
  --help            this

PYTHON names another interpreter."
python=${PYTHON:-$(command -v python || command -v python3 || true)}
stage=1 stop_stage=4 exp_dir=runs/tts minutes=9 jobs=2 held_out=() paths=()

die() {
    printf '%s: %s\n' "$0" "$1" >&2
    exit 2
}

while (($#)); do
    case $1 in
    -h | --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
    --stage | --stop-stage | --exp-dir | --minutes | --held-out | --jobs)
        (($# > 1)) || die "$1 needs a value; see --help"
        case $1 in
        --stage) stage=$2 ;;
        --stop-stage) stop_stage=$2 ;;
        --exp-dir) exp_dir=$2 ;;
        --minutes) minutes=$2 ;;
        --held-out) held_out=(--held-out "$2") ;;
        --jobs) jobs=$2 ;;
        esac
        shift
        ;;
    -*) die "there is no option $1; see --help" ;;
    *) paths+=("$1") ;;
    esac
    shift
done
[[ $stage =~ ^[1-4]$ && $stop_stage =~ ^[1-4]$ ]] || die "a stage is a number from 1 to 4"
((${#paths[@]} > 1)) || die "give the folder of the corpora and at least one speaker; see --help"
[[ -d ${paths[0]} ]] || die "there is no folder ${paths[0]}"
[[ -n $python ]] || die "there is no python; set PYTHON to one"

runs_now() {
    ((stage <= $1 && $1 <= stop_stage))
}

if runs_now 1; then
    speakers=()
    for speaker in "${paths[@]:1}"; do speakers+=(--speaker "$speaker"); done
    "$python" "$here/prepare.py" "${paths[0]}" "$exp_dir" "${speakers[@]}" --jobs "$jobs" \
        ${held_out[@]+"${held_out[@]}"}
fi
if runs_now 2; then
    "$python" "$here/align.py" "$exp_dir" --jobs "$jobs" --picture "$exp_dir/alignments"
fi
if runs_now 3; then
    "$python" "$here/train.py" "${paths[0]}" "$exp_dir/labels.json" --out "$exp_dir/model" \
        --minutes "$minutes" --state "$exp_dir/state.pt" --resume
fi
if runs_now 4; then
    "$python" "$here/mels.py" "${paths[0]}" "$exp_dir/labels.json" "$exp_dir/model" "$exp_dir/mels"
fi
