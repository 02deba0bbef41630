"""Settings of a run, their flags, and the files of flags."""
