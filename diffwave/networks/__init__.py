"""The networks: `forward(x_t, t, mel) -> prediction`; they know nothing of schedules or samplers."""
