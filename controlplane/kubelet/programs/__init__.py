"""Programs that run as pods by their path: standard library only, nothing of this project is imported."""
