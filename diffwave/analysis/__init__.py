"""The chain of a checkpoint examined: its variational bound, schedules, unusual audio."""
