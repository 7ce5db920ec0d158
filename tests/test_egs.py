"""The examples of egs/: voices behind the pipelines of others, called as those call them."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from local_hub import local_hub
from signals import speech_like
from tiny import random_model, spectral_config, speech_mel
from told import EGS, ROOT, script
from torch import Tensor

from diffwave import Vocoder
from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError
from diffwave.mel import preset

HOP = 256


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EGS))


def voice_of(convention: str) -> Vocoder:
    """A small voice with random weights for a mel preset."""
    mel = preset(convention)
    config = dataclasses.replace(spectral_config(), mel=mel)
    return Vocoder(random_model(config), "cpu")


def small_speecht5(transformers: Any) -> Any:
    """SpeechT5 with random weights."""
    torch.manual_seed(0)
    config = transformers.SpeechT5Config(
        hidden_size=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=20,
        speech_decoder_prenet_units=8, speech_decoder_postnet_units=8, speaker_embedding_dim=8,
        speech_decoder_prenet_dropout=0.0,
    )  # fmt: skip
    return transformers.SpeechT5ForTextToSpeech(config).eval()


def test_transformers_speecht5() -> None:
    transformers = pytest.importorskip("transformers")
    from with_transformers import TransformersVocoder

    model, voice = small_speecht5(transformers), voice_of("speecht5")
    vocoder = TransformersVocoder(voice, seed=3).eval()
    assert vocoder.config.sampling_rate == 16000
    tokens, speaker = torch.randint(4, 20, (2, 9)), torch.randn(1, 8)
    options = {"threshold": 9.0, "maxlenratio": 4.0}  # to the greatest length
    mel = model.generate_speech(tokens[:1], speaker, **options)
    assert mel.shape == (36, 80)
    wave = model.generate_speech(tokens[:1], speaker, vocoder=vocoder, **options)
    assert wave.shape == (36 * HOP,)
    torch.testing.assert_close(wave, voice(mel.T, seed=3))
    waves, lengths = model.generate_speech(
        tokens, speaker, vocoder=vocoder, return_output_lengths=True, **options
    )
    assert waves.shape == (2, 36 * HOP) and lengths == [36 * HOP] * 2
    mels = model.generate_speech(tokens, speaker, **options)
    torch.testing.assert_close(waves, voice(mels.mT, seed=3))


def test_transformers_pipeline() -> None:
    """`pipeline("text-to-speech", ..., vocoder=...)`: samples, and the rate that they are of."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from with_transformers import TransformersVocoder

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "any": 5, "text": 6}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    model, voice = small_speecht5(transformers), voice_of("speecht5")
    speak = transformers.pipeline(
        "text-to-speech", model=model, tokenizer=tokenizer,
        vocoder=TransformersVocoder(voice, seed=3), device="cpu",
    )  # fmt: skip
    options = {"speaker_embeddings": torch.randn(1, 8), "threshold": 9.0, "maxlenratio": 8.0}
    said = speak("any text", forward_params=options)
    assert said["sampling_rate"] == 16000
    tokens = torch.tensor([[5, 6]])
    mel = model.generate_speech(tokens, options.pop("speaker_embeddings"), **options)
    assert mel.shape == (16, 80)
    np.testing.assert_allclose(said["audio"].squeeze(), voice(mel.T, seed=3).numpy(), atol=1e-5)


def test_transformers_fastspeech2() -> None:
    transformers = pytest.importorskip("transformers")
    from with_transformers import TransformersVocoder

    torch.manual_seed(0)
    small = {
        "hidden_size": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_linear_units": 16,
        "decoder_linear_units": 16, "speech_decoder_postnet_units": 8, "vocab_size": 20,
        "duration_predictor_channels": 8, "pitch_predictor_channels": 8,
        "energy_predictor_channels": 8,
    }  # fmt: skip
    config = transformers.FastSpeech2ConformerWithHifiGanConfig(
        model_config=transformers.FastSpeech2ConformerConfig(**small),
        vocoder_config=transformers.FastSpeech2ConformerHifiGanConfig(upsample_initial_channel=16),
    )
    model = transformers.FastSpeech2ConformerWithHifiGan(config).eval()
    model.model.duration_predictor.linear.bias.data.fill_(2.0)  # e^2 - 1 frames a token
    voice = voice_of("espnet")
    mean, scale = torch.linspace(-2, -1, 80), torch.full((80,), 0.5)
    model.vocoder = TransformersVocoder(voice, mean, scale, seed=3)
    model.to("cpu")
    with torch.no_grad():
        output = model(torch.randint(4, 20, (1, 6)), return_dict=True)
    mel = output.spectrogram
    assert mel.shape[1] > 6 and output.waveform.shape == (1, mel.shape[1] * HOP)
    torch.testing.assert_close(output.waveform, voice((mean + scale * mel).mT, seed=3))
    assert any(name.startswith("vocoder.model.") for name in model.state_dict())


def test_espnet() -> None:
    from with_espnet import EspnetVocoder

    class Text2Speech:
        """What `espnet2.bin.tts_inference` does with a vocoder."""

        vocoder: Any = None

        def __call__(self, text: str) -> dict[str, Tensor]:
            output = {"feat_gen_denorm": speech_mel(len(text) / 10, "espnet").T}
            with torch.no_grad():
                output["wav"] = self.vocoder(output["feat_gen_denorm"])
            return output

        @property
        def fs(self) -> int | None:
            return self.vocoder.fs if hasattr(self.vocoder, "fs") else None

    text2speech, voice = Text2Speech(), voice_of("espnet")
    text2speech.vocoder = EspnetVocoder(voice, seed=3).to("cpu")
    output = text2speech("Any text at all.")
    assert text2speech.fs == 22050
    torch.testing.assert_close(output["wav"], voice(output["feat_gen_denorm"].T, seed=3))
    assert output["wav"].shape == (len(output["feat_gen_denorm"]) * HOP,)


@pytest.mark.slow
def test_espnet_itself(tmp_path: Path) -> None:
    """The toolkit's own `Text2Speech` and a small FastSpeech 2 with random weights."""
    module = pytest.importorskip("espnet2.bin.tts_inference", exc_type=ImportError)
    import yaml
    from espnet2.tasks.tts import TTSTask
    from with_espnet import EspnetVocoder

    voice = voice_of("espnet")
    audio = {"fs": 22050, "n_fft": 1024, "hop_length": 256, "win_length": 1024}
    sums = {"sum": np.full(80, -15.0), "sum_square": np.full(80, 25.0)}
    np.savez(tmp_path / "stats.npz", count=np.array(10), **sums)
    widths = ("adim", "eunits", "dunits", "postnet_chans", "duration_predictor_chans",
              "pitch_predictor_chans", "energy_predictor_chans")  # fmt: skip
    small = {name: 8 for name in widths} | {"aheads": 2, "elayers": 1, "dlayers": 1}
    config = TTSTask.get_default_config() | {
        "token_list": ["<blank>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ", "<sos/eos>"],
        "token_type": "char", "cleaner": None, "g2p": None, "odim": None,
        "tts": "fastspeech2", "tts_conf": {**small, "postnet_layers": 1},
        "feats_extract": "fbank",
        "feats_extract_conf": {**audio, "fmin": 80, "fmax": 7600, "n_mels": 80},
        "normalize": "global_mvn", "normalize_conf": {"stats_file": str(tmp_path / "stats.npz")},
        "pitch_extract": "dio", "pitch_normalize": None,
        "pitch_extract_conf": {"fs": 22050, "n_fft": 1024, "hop_length": 256},
        "energy_extract": "energy", "energy_extract_conf": audio, "energy_normalize": None,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    text2speech = module.Text2Speech(train_config=str(tmp_path / "config.yaml"))
    text2speech.tts.duration_predictor.linear.bias.data.fill_(1.5)  # e^1.5 - 1 frames a token
    text2speech.vocoder = EspnetVocoder(voice, seed=3)
    output = text2speech("any text at all")
    mel = output["feat_gen_denorm"]
    assert text2speech.fs == 22050 and len(mel) > 15
    torch.testing.assert_close(output["wav"], voice(mel.T, seed=3))
    # Its mels are those of the preset.
    wave = torch.from_numpy(speech_like(1.0, 22050))
    theirs, _ = text2speech.feats_extract(wave[None], torch.tensor([len(wave)]))
    torch.testing.assert_close(theirs[0].T, voice.mel(wave), rtol=1e-3, atol=1e-3)


class CoquiSynthesizer:
    """What `TTS.utils.synthesizer.Synthesizer` does with a vocoder; its audio is Coqui's."""

    class Audio:
        """Coqui's symmetric normalisation of decibels to -4 .. 4."""

        def __init__(self, sample_rate: int) -> None:
            self.sample_rate = sample_rate

        def denormalize(self, mel: np.ndarray) -> np.ndarray:
            return (np.clip(mel, -4, 4) + 4) / 8 * 100 - 100 + 20

        def normalize(self, decibels: np.ndarray) -> np.ndarray:
            return np.clip((decibels - 20 + 100) / 100 * 8 - 4, -4, 4)

    def __init__(self, sample_rate: int = 22050) -> None:
        self.tts_model = SimpleNamespace(ap=self.Audio(sample_rate))
        self.vocoder_model: Any = None
        self.vocoder_ap: Any = None
        self.vocoder_config: Any = None
        self.output_sample_rate = 0

    def tts(self, mel: Tensor) -> np.ndarray:
        """mel [T, n_mels], as the model predicts it."""
        decibels = self.tts_model.ap.denormalize(mel.numpy().T).T
        given = self.vocoder_ap.normalize(decibels.T)
        assert self.vocoder_config["audio"]["sample_rate"] == self.tts_model.ap.sample_rate
        wave = self.vocoder_model.inference(torch.tensor(given).unsqueeze(0).to("cpu"))
        return wave.numpy().squeeze()


def test_coqui() -> None:
    from with_coqui import use_voice

    voice, mel, synthesizer = voice_of("coqui"), speech_mel(1.0, "coqui"), CoquiSynthesizer()
    use_voice(synthesizer, voice, seed=3)
    wave = synthesizer.tts(mel.T)
    assert wave.shape == (mel.shape[1] * HOP,) and synthesizer.output_sample_rate == 22050
    np.testing.assert_allclose(wave, voice(mel, seed=3).numpy(), atol=1e-3)
    with pytest.raises(InputError, match="16000 Hz, the voice at 22050"):
        use_voice(CoquiSynthesizer(16000), voice)


def test_coqui_itself(tmp_path: Path) -> None:
    """The library's own synthesizer and a small GlowTTS with random weights."""
    module = pytest.importorskip("TTS.utils.synthesizer", exc_type=ImportError)
    from TTS.tts.configs.glow_tts_config import GlowTTSConfig
    from TTS.tts.models.glow_tts import GlowTTS
    from with_coqui import use_voice

    small = {"kernel_size": 3, "num_layers": 1, "num_heads": 2, "hidden_channels_ffn": 16}
    config = GlowTTSConfig(
        hidden_channels_enc=16, hidden_channels_dec=16, hidden_channels_dp=16,
        num_block_layers=2, num_flow_blocks_dec=2, use_phonemes=False,
        text_cleaner="basic_cleaners", encoder_params={**small, "dropout_p": 0.1},
    )  # fmt: skip
    torch.manual_seed(0)
    torch.save({"model": GlowTTS(config).state_dict()}, tmp_path / "model.pth")
    config.save_json(str(tmp_path / "config.json"))
    synthesizer = module.Synthesizer(
        tts_checkpoint=tmp_path / "model.pth", tts_config_path=tmp_path / "config.json"
    )
    voice = voice_of("coqui")
    use_voice(synthesizer, voice, seed=3)
    given: list[Tensor] = []
    inference = synthesizer.vocoder_model.inference
    synthesizer.vocoder_model.inference = lambda mel: given.append(mel) or inference(mel)
    wave = np.array(synthesizer.tts("Any text at all, at length."))
    mel = given[0]
    expected = voice(mel, seed=3)[0].numpy()
    assert mel.shape[:2] == (1, 80) and mel.shape[2] > 4
    np.testing.assert_allclose(wave[: len(expected)], expected, atol=1e-5)
    assert not wave[len(expected) :].any()  # its pause after a text


def test_matcha() -> None:
    from with_matcha import MatchaVocoder

    voice = voice_of("hifigan")
    vocoder = MatchaVocoder(voice, seed=3)
    mel = torch.stack([speech_mel(1.0), speech_mel(1.0, seed=1)])
    audio = vocoder(mel).clamp(-1, 1).cpu().squeeze()  # as matcha.cli.to_waveform
    torch.testing.assert_close(audio, voice(mel, seed=3).clamp(-1, 1))
    # Its denoiser asks for what it would subtract, though it is better left out.
    assert next(vocoder.parameters()).dtype == torch.float32
    assert vocoder(torch.zeros(1, 80, 88)).shape == (1, 1, 88 * HOP)


def test_matcha_itself() -> None:
    """Its own model with random weights, and its own `to_waveform`."""
    cli = pytest.importorskip("matcha.cli")  # matcha-tts; needs espeak-ng
    from matcha.models.matcha_tts import MatchaTTS
    from with_matcha import MatchaVocoder

    encoder = {
        "encoder_type": "RoPE Encoder",
        "encoder_params": {
            "n_feats": 80, "n_channels": 32, "filter_channels": 32, "filter_channels_dp": 32,
            "n_heads": 2, "n_layers": 1, "kernel_size": 3, "p_dropout": 0.1, "prenet": True,
        },
        "duration_predictor_params": {"filter_channels_dp": 32, "kernel_size": 3, "p_dropout": 0},
    }  # fmt: skip
    decoder = {
        "channels": [32, 32], "dropout": 0.0, "attention_head_dim": 16, "n_blocks": 1,
        "num_mid_blocks": 1, "num_heads": 2, "act_fn": "snakebeta",
    }  # fmt: skip
    matching = {"name": "CFM", "solver": "euler", "sigma_min": 1e-4}
    dictionary = pytest.importorskip("omegaconf").OmegaConf.create
    torch.manual_seed(0)
    matcha = MatchaTTS(
        178, 1, 8, 80, dictionary(encoder), decoder, dictionary(matching),
        data_statistics={"mel_mean": -5.5, "mel_std": 0.5}, out_size=None,
    ).eval()  # fmt: skip
    text = torch.randint(1, 178, (1, 40))
    mel = matcha.synthesise(text, torch.tensor([40]), n_timesteps=2, length_scale=8.0)["mel"]
    voice = voice_of("hifigan")
    wave = cli.to_waveform(mel, MatchaVocoder(voice, seed=3))
    torch.testing.assert_close(wave, voice(mel, seed=3)[0].clamp(-1, 1))
    assert wave.shape == (mel.shape[2] * HOP,) and mel.shape[2] > 40


@pytest.mark.parametrize("compressed", [False, True])
def test_kaldi(compressed: bool, tmp_path: Path, tiny_checkpoint: Path) -> None:
    kaldi = pytest.importorskip("kaldi_native_io")
    mels = {"a": speech_mel(0.5), "b-2": speech_mel(0.8, seed=1)}
    table = f"ark,scp:{tmp_path}/feats.ark,{tmp_path}/feats.scp"
    writer, how = (
        (kaldi.CompressedMatrixWriter, [kaldi.CompressionMethod.kAutomaticMethod])
        if compressed
        else (kaldi.FloatMatrixWriter, [])
    )
    with writer(table) as file:
        for key, mel in mels.items():
            file.write(key, mel.T.contiguous().numpy(), *how)
    out = tmp_path / "wavs"
    done = script(EGS / "from_kaldi.py", tmp_path / "feats.scp", out, tiny_checkpoint)
    assert done.returncode == 0, done.stderr
    voice = Vocoder.from_pretrained(tiny_checkpoint, "cpu")
    for key, mel in mels.items():
        wave, rate = read_audio(out / f"{key}.wav")
        assert rate == 22050 and wave.shape == (mel.shape[1] * HOP,)
        if not compressed:
            torch.testing.assert_close(wave, voice(mel, seed=1).clamp(-1, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a touch ran |", "command"),
        ("a", "line 1 is not a key"),
        ("../a feats.ark:2", "line 1 is not a key"),
        ("a missing.ark:2", "no matrix at missing.ark:2"),
    ],
)
def test_kaldi_tables_that_are_none(
    line: str, words: str, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    pytest.importorskip("kaldi_native_io")
    (tmp_path / "feats.scp").write_text(line + "\n")
    done = script(EGS / "from_kaldi.py", tmp_path / "feats.scp", tmp_path / "o", tiny_checkpoint)
    assert done.returncode == 2 and words in done.stderr
    assert done.stderr.count("from_kaldi.py:") == 1 and "Traceback" not in done.stderr
    assert not list((tmp_path / "o").glob("*.wav")) and not (ROOT / "ran").exists()


def test_a_voice_in_a_folder(tmp_path: Path, tiny_checkpoint: Path) -> None:
    done = script(EGS / "share_a_voice.py", tiny_checkpoint, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    mel = speech_mel(0.5)
    copy, voice = (Vocoder.from_pretrained(f, "cpu") for f in (tmp_path / "copy", tiny_checkpoint))
    assert torch.equal(copy(mel), voice(mel))


def test_a_voice_to_the_hub_and_back(tmp_path: Path, tiny_checkpoint: Path) -> None:
    pytest.importorskip("huggingface_hub")
    arguments = (EGS / "share_a_voice.py", tiny_checkpoint, tmp_path / "copy", "me/voice")
    with local_hub(tmp_path / "hub") as environment:
        done = script(*arguments, environment=environment)
        assert done.returncode == 0, done.stderr
        assert "/me/voice/commit/" in done.stdout
        refused = script(*arguments, environment={**environment, "HF_TOKEN": "wrong"})
    assert refused.returncode == 2
    assert "did not take 'me/voice'" in refused.stderr and "Traceback" not in refused.stderr
    published = tmp_path / "hub" / "me" / "voice"
    assert {file.name for file in published.iterdir()} == {"config.json", "model.safetensors"}
    weights = (tmp_path / "copy" / "model.safetensors").read_bytes()
    assert (published / "model.safetensors").read_bytes() == weights


def test_torch_hub(tiny_checkpoint: Path) -> None:
    loaded = torch.hub.load(str(ROOT), "vocoder", str(tiny_checkpoint), "cpu", source="local")
    mel = speech_mel(0.5)
    assert torch.equal(loaded(mel), Vocoder.from_pretrained(tiny_checkpoint, "cpu")(mel))
    default = torch.hub.load(str(ROOT), "vocoder", device="cpu", source="local")
    assert default.sample_rate == 22050 and default.config.mel.name == "hifigan"


def test_torch_hub_asks_for_what_synthesis_needs() -> None:
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"\W", name.replace("-", "_"))[0] for name in project["dependencies"]}
    assert set(hubconf.dependencies) == needed - {"torch"}
    entries = {name for name, value in vars(hubconf).items() if inspect.isfunction(value)}
    assert entries == {"vocoder"} and hubconf.vocoder.__doc__
