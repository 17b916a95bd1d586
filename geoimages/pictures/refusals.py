"""Reasons for refusing a picture."""

REASONS = {
    "missing": "no such file",
    "empty-file": "the file holds no bytes",
    "not-a-picture": "no known picture format",
    "truncated": "the file ends before the picture does",
    "undecodable": "the picture's data are damaged",
    "too-large": "more pixels, or scans of them, than the reader accepts",
    "bit-depth": "values that are neither 8-bit, 16-bit nor in [0, 1]",
    "empty-mask": "every pixel is transparent, so no rock is left",
}


class ImageReadError(ValueError):
    """A picture cannot be read.

    Parameters
    ----------
    reason : str
        A code from `geoimages.pictures.reading.REASONS`.
    source : str
        The path, or a name for bytes.
    detail : str, default=""
        Message of the decoder.
    info : dict, optional
        Information on the file before it was refused, as returned by
        `read_image` under ``return_info=True``.

    Attributes
    ----------
    reason, source, detail, info
        As given.
    """

    def __init__(self, reason, source, detail="", info=None):
        self.reason = reason
        self.source = source
        self.detail = detail
        self.info = dict(info or {})
        text = f"{source}: {REASONS[reason]} ({reason})"
        super().__init__(f"{text}: {detail}" if detail else f"{text}.")

    def __reduce__(self):
        return type(self), (self.reason, self.source, self.detail, self.info)
