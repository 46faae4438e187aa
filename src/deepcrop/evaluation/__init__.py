"""Score season dates against cameras and against simulated truth."""
