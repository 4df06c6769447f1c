"""What has to hold of a saga wherever it runs, and machines that die: `python -m tests.engines`."""
