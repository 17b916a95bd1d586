"""The one door: a file becomes checked uint8 pixels, or a reason why not."""
