"""What the user can mend. Each message reads `where: what is wrong; what to do`."""


class VsrError(Exception):
    """Base of all errors that are shown as one line and end with status 1."""


class MediaError(VsrError):
    """A clip or picture cannot be read, planned or written."""


class BrokenOff(MediaError):  # noqa: N818  # what came before it is good
    """An animation cannot be decoded to its end."""


class ModelError(VsrError):
    """A weights file or model name cannot be used."""


class DownloadError(VsrError):
    """A file cannot be fetched from the network."""


class ConfigError(VsrError):
    """A setting, preset or option does not make sense."""


class Cancelled(VsrError):  # noqa: N818  # no error: what was asked for
    """The run was asked to stop, and did; what is done is kept."""
