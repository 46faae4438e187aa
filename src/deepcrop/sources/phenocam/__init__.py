"""The PhenoCam network: its web service, its summary files, and greenness from camera images."""
