"""Objective scores of generated speech against the recordings it should sound like."""
