#!/usr/bin/env bash
# A vocoder for a voice of your own: from a folder of recordings to a checkpoint folder. See README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: bash recipes/your-voice/run.sh AUDIO_FOLDER [options]

The bundled voice is trained on with your recordings (.wav, .flac, .ogg, .opus, .mp3; any rate, any length).
Stages: 0 look at the folder, 1 prepare it, 2 train, 3 evaluate on clips that were held out, 4 export a
checkpoint folder with a model card. A finished stage is passed quickly, a stopped one goes on.

  --from-scratch    start from nothing: for another sample rate or mel, or for many hours
  --stage N         first stage (0)
  --stop-stage N    last stage (4)
  --exp-dir DIR     where everything is kept (runs/NAME_OF_AUDIO_FOLDER)
  --config NAME     settings laid over those of every run: debug (everything once, tiny), a rate of
                    recipes/rates (with --from-scratch) or a YAML file; repeatable
  --set KEY=VALUE   one setting of every run, such as run.minutes=60; repeatable
  --metrics LIST    scores of stage 3, such as pesq,stoi (all but periodicity_rmse)
  --speaker NAME    for the model card: whose voice it is
  --license ID      for the model card: licence of the weights, such as cc-by-4.0
  --help            this

PYTHON names another interpreter."
# shellcheck source=recipes/common.sh
source "$here/../common.sh"

# Sets `audio`, the folder of the recordings.
find_audio() {
    audio=$data_dir
    [[ -n $(find -L "$audio" -type f \( -iname '*.wav' -o -iname '*.flac' -o -iname '*.ogg' \
        -o -iname '*.opus' -o -iname '*.mp3' \) -print -quit) ]] ||
        die "there is no audio (.wav, .flac, .ogg, .opus, .mp3) below $audio"
}

parse_arguments "$@"
((${#arguments[@]} <= 1)) || die "there is one folder of audio, but ${arguments[1]} is another"
data_dir=${arguments[0]:-$data_dir}
[[ -n $data_dir ]] || die "which recordings? Give a folder; see --help"
[[ -d $data_dir ]] || die "there is no folder $data_dir"
exp_dir=${exp_dir:-runs/$(basename "$(cd "$data_dir" && pwd)")}
lines=$'\n'
if [[ -n $from_scratch ]]; then
    runs=(
        "source:$recipes/ljspeech/source.yaml$lines$here/voice.yaml"
        "spectral:$recipes/ljspeech/spectral.yaml$lines$here/voice.yaml"
        "unrolled:$recipes/ljspeech/unrolled.yaml$lines$here/voice.yaml"
        "enhancer:$recipes/ljspeech/enhancer.yaml$lines$here/voice.yaml"
    )
else
    runs=("tuned:$here/finetune.yaml")
fi
((stage > 1)) || find_audio # before anything takes time
main
