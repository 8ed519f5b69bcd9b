"""One run of inference.py: settings, artefacts, checks, report, storyboard."""
