"""The run log: one JSON-lines file a run, the same whichever driver runs the rounds."""
