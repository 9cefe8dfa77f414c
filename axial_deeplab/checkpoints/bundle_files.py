"""Find a TensorFlow checkpoint: by its prefix, in its folder, or inside an archive."""

import gzip
import lzma
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axial_deeplab.errors import InputError

_PART = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


@contextmanager
def open_bundle(source: str | Path) -> Iterator[Path]:
    """Yield the prefix of a checkpoint.

    Args:
        source: The prefix (`DIR/ckpt-3`), one of its files, a folder with one checkpoint (or with TensorFlow's note of the
            latest), or a tar archive with one, which is unpacked into a temporary folder for as long as the context lasts.

    Raises:
        InputError: If there is no checkpoint, or there are several.
    """
    source = Path(source)
    if source.is_dir():
        yield _find_in_folder(source)
    elif source.is_file() and not _PART.search(source.name):
        with tempfile.TemporaryDirectory(prefix="axial-deeplab-") as folder:
            yield _unpack(source, Path(folder))
    else:
        prefix = source.with_name(_PART.sub("", source.name))
        if not prefix.with_name(f"{prefix.name}.index").is_file():
            raise InputError(f"{source} is no checkpoint: expected {prefix}.index, or a .tar.gz that holds one")
        yield prefix


def list_files(prefix: Path) -> list[Path]:
    """Return the files of a checkpoint."""
    return sorted(path for path in prefix.parent.iterdir() if _PART.sub("", path.name) == prefix.name != path.name)


def _find_in_folder(folder: Path) -> Path:
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    note = folder / "checkpoint"
    if len(prefixes) > 1 and note.is_file():
        latest = re.search(r'^model_checkpoint_path: "(.*)"$', note.read_text(errors="replace"), re.MULTILINE)
        prefixes = [prefix for prefix in prefixes if latest and prefix.name == Path(latest[1]).name]
    if len(prefixes) != 1:
        raise InputError(
            f"{folder} holds {len(prefixes)} checkpoints (*.index): give the prefix of one, such as ckpt-3"
        )
    return prefixes[0]


def _unpack(archive: Path, folder: Path) -> Path:
    """Copy the parts of the one checkpoint in an archive into `folder`, under names of ours: no path in it matters."""
    try:
        with tarfile.open(archive) as tar:
            parts = [member for member in tar if member.isfile() and _PART.search(member.name)]
            prefixes = sorted({_PART.sub("", member.name) for member in parts})
            if len(prefixes) != 1:
                found = f"{len(prefixes)} checkpoints ({', '.join(prefixes[:3])})" if prefixes else "no checkpoint"
                raise InputError(f"{archive} holds {found}: unpack it and give the prefix of one")
            for member in parts:
                suffix = _PART.search(member.name)
                content = tar.extractfile(member)
                assert suffix is not None
                assert content is not None
                with (folder / f"checkpoint{suffix[0]}").open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{archive} is damaged, or no archive ({error}): expected a .tar.gz with a checkpoint"
        ) from None
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked ({error.strerror or error})") from None
    return folder / "checkpoint"
