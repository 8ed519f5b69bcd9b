"""What surrounds the stages of a run: settings, input checks, run folder, report and storyboard."""
