"""What a vocoder costs on this machine, ours and others side by side: `diffwave bench`."""
