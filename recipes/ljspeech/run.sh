#!/usr/bin/env bash
# LJSpeech, from the download to a checkpoint folder that speaks. See README.md here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: bash recipes/ljspeech/run.sh [options]

Stages: 0 download LJSpeech 1.1 (2.6 GB), 1 prepare it, 2 train, 3 evaluate on LJ001-0001 to 0016,
4 export a checkpoint folder with a model card. A finished stage is passed quickly, a stopped one goes
on where it was.

  --stage N         first stage (0)
  --stop-stage N    last stage (4)
  --data-dir DIR    LJSpeech, or any folder of its clips; nothing is downloaded
  --exp-dir DIR     where everything is kept (runs/ljspeech)
  --config NAME     settings laid over those of every run: debug (everything once, tiny), a rate of
                    recipes/rates (16k, 24k, ..) or a YAML file; repeatable
  --with RUN        a run of stage 2 that is otherwise left out: adversarial, a finish against
                    discriminators, for a graphics card
  --skip RUN        a run of stage 2 that is left out, such as enhancer; repeatable
  --set KEY=VALUE   one setting of every run, such as run.minutes=60; repeatable
  --metrics LIST    scores of stage 3, such as pesq,stoi (all but periodicity_rmse)
  --speaker NAME    for the model card: whose voice it is
  --license ID      for the model card: licence of the weights, such as cc-by-4.0
  --help            this

LJSPEECH_URL names another place to download from; PYTHON another interpreter."
# shellcheck source=recipes/common.sh
source "$here/../common.sh"

url=${LJSPEECH_URL:-https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2}
sha256=be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5 # as in torchaudio.datasets

has_checksum() {
    local sum
    if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$1"); else sum=$(shasum -a 256 <"$1"); fi
    [[ ${sum%% *} == "$sha256" ]]
}

download() {
    local archive=$exp_dir/LJSpeech-1.1.tar.bz2
    command -v curl >/dev/null || die "downloading needs curl; or give --data-dir"
    if [[ ! -f $archive ]]; then
        if [[ ! -f $archive.part ]] || ! has_checksum "$archive.part"; then
            curl --fail --location --retry 5 --continue-at - --output "$archive.part" "$url" ||
                die "the download of $url stopped; the same command goes on with it"
        fi
        has_checksum "$archive.part" ||
            die "$archive.part is not LJSpeech 1.1 (wrong checksum); remove it and start again"
        mv "$archive.part" "$archive"
    fi
    rm -rf "$exp_dir/unpacking"
    mkdir "$exp_dir/unpacking"
    tar -xjf "$archive" -C "$exp_dir/unpacking"
    mv "$exp_dir/unpacking/LJSpeech-1.1" "$exp_dir/LJSpeech-1.1"
    rmdir "$exp_dir/unpacking"
}

# Sets `audio`, the folder of the clips; "get" downloads them if they are not there.
find_audio() {
    local folder=${data_dir:-$exp_dir/LJSpeech-1.1}
    if [[ -z $data_dir && ! -d $folder ]]; then
        [[ ${1:-} == get ]] || die "there is no $folder; run stage 0, or give --data-dir"
        download
    fi
    audio=$folder
    [[ ! -d $folder/wavs ]] || audio=$folder/wavs
}

parse_arguments "$@"
((${#arguments[@]} == 0)) || die "there is no argument ${arguments[0]}; see --help"
[[ -z $from_scratch ]] || die "there is no option --from-scratch; see --help"
exp_dir=${exp_dir:-runs/ljspeech}
optional=(adversarial)
runs=(
    "source:$here/source.yaml" "spectral:$here/spectral.yaml"
    "unrolled:$here/unrolled.yaml" "adversarial:$here/adversarial.yaml"
    "enhancer:$here/enhancer.yaml"
)
((stage != 1)) || find_audio # before anything takes time
main
