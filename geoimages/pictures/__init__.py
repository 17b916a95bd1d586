"""Reading pictures: a file becomes checked uint8 pixels, or a reason for refusal."""
