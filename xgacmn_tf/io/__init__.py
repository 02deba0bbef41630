"""Files: atomic writing, locks, and arrays in .npz, .mat and .h5 files."""
