"""Run folders: their files, trainings that fill them, and the use of finished runs."""
