"""The Gaussian chain: schedules, closed form, posterior, bound, samplers, addressed noise."""
