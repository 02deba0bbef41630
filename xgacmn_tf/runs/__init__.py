"""Run folders: their files, their encoders and data sets, and compared systems trained into one."""
