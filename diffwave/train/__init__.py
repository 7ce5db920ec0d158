"""Training: data, envelope, losses, the loop. Nothing here is needed to synthesise."""
