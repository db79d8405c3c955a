"""How code of a language becomes a command."""

from __future__ import annotations

_COMMANDS = {
    "python": ["python3", "-c"],
    "javascript": ["node", "-e"],
    "sh": ["sh", "-c"],
    "bash": ["bash", "-c"],
    "ruby": ["ruby", "-e"],
    "perl": ["perl", "-e"],
    "php": ["php", "-r"],
}

_IMAGES = {
    "node": "javascript",
    "ruby": "ruby",
    "perl": "perl",
    "php": "php",
    "bash": "bash",
    "alpine": "sh",
    "busybox": "sh",
}

# Linux takes arguments of up to 128 KiB.
_LONGEST = 120 * 1024


def language_of(image: str) -> str:
    """The language that an image is for: by the last part of its name."""
    name = image.rsplit("/", 1)[-1].split("@")[0].split(":")[0]
    return _IMAGES.get(name, "python")


def command_for(language: str, code: str) -> list[str]:
    """The command that runs code."""
    start = _COMMANDS.get(language)
    if start is None:
        raise ValueError(f"no such language: {language}; known are {', '.join(_COMMANDS)}")
    if len(code.encode()) > _LONGEST:
        raise ValueError("the code is too long for an argument: write it to a file and run that")
    return [*start, code]
