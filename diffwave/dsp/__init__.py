"""Signal processing for NumPy and PyTorch alike: STFT, pulse source, mel consistency."""
