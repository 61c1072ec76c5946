"""The window and its panels, drawn by OpenGL; knows of the rest the history alone."""
