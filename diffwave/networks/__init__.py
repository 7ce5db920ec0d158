"""Networks that predict noise: `forward(x_t, t, mel) -> prediction`; they know no schedules."""
