"""The PhenoCam network: its service, summary files and images."""
