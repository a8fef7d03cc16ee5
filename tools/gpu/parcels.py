"""What came out on a machine elsewhere, in a few files that can be carried home, and taken into results/ there, checked."""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from alexnet_lib.config import InputError
from alexnet_lib.evidence import records
from alexnet_lib.system.files import whole

MOST, BYTES = 8, 15 * 2**20  # files, and bytes of each
SUMS = "SHA256SUMS"
LINE, ENDS = 300, 12_288  # bytes of a name and its checksum, at most; of what an archive adds at its ends


def pack(folder: Path, dest: Path) -> list[Path]:
    """Writes the files below `folder` to at most eight archives of at most 15 MiB: records first, then what lies beside them.

    Raises InputError where they do not fit, with the names of those that were left out; the archives are written before.
    """
    dest.mkdir(parents=True, exist_ok=True)
    for old in dest.glob("results-*.tar"):
        old.unlink()
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (p.suffix != ".json", p.stat().st_size, p))
    loads: list[list[Path]] = []
    room, left_out = 0, []
    for path in files:
        takes = path.stat().st_size + 1024 + LINE  # with its header, in whole blocks
        if takes > room and len(loads) < MOST and takes <= BYTES - ENDS:
            loads.append([])
            room = BYTES - ENDS
        if takes > room:
            left_out.append(path)
            continue
        room -= takes
        loads[-1].append(path)
    written = [_archive(dest / f"results-{i}.tar", folder, load) for i, load in enumerate(loads, 1)]
    if left_out:
        raise InputError(f"{len(left_out)} files did not fit into {MOST} parcels: {', '.join(p.name for p in left_out[:5])}, ...")
    return written


def _archive(path: Path, folder: Path, files: list[Path]) -> Path:
    sums = "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files).encode()
    with tarfile.open(path, "w") as archive:
        facts = tarfile.TarInfo(SUMS)
        facts.size = len(sums)
        archive.addfile(facts, io.BytesIO(sums))
        for each in files:
            archive.add(each, each.relative_to(folder).as_posix(), recursive=False)
    return path


def take(folder: Path) -> list[Path]:
    """Brings the parcels in a folder into results/; all are checked before anything is written.

    Raises:
        InputError: no parcels, one that is damaged or holds something else, or another record of the same name in results/.
    """
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("results-*.tar")):
        found |= dict(_contents(path))
    if not found:
        raise InputError(f"no results-*.tar in {folder}")
    root = records.results_root()
    for name, content in found.items():
        there = root / name
        if there.exists() and there.read_bytes() != content:
            raise InputError(f"{there} is another one already: move it away, or set ALEXNET_RESULTS to a folder of yours")
    with tempfile.TemporaryDirectory() as aside:
        for name, content in found.items():
            if name.endswith(".json"):
                (path := Path(aside) / Path(name).name).write_bytes(content)
                record = records.read(path)
                if records.results_path(record, Path()) != Path(name):
                    raise InputError(f"{name} is a record of {record['experiment']} {record['arm']}, by another name")
    for name, content in found.items():
        there = root / name
        with whole(there) as partial:
            partial.write_bytes(content)
    return [root / name for name in found]


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of what a parcel holds, each in a folder of its experiment and with the checksum that the parcel names."""
    try:
        with tarfile.open(path) as archive:
            inside = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}
            sums = dict(reversed(entry.split("  ", 1)) for entry in inside.pop(SUMS).decode().splitlines())
    except (tarfile.TarError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is no parcel, or it is damaged: {error}") from error
    for name in inside:
        if len(PurePosixPath(name).parts) != 2 or ".." in name or name.startswith("/"):
            raise InputError(f"{path} holds {name!r}, which is no EXPERIMENT/RECORD")
    if {name: hashlib.sha256(content).hexdigest() for name, content in inside.items()} != sums:
        raise InputError(f"{path} is damaged: what it holds is not what was packed")
    yield from inside.items()
