"""The command of the command line that makes a packed set: pack."""

from typing import Annotated

import typer

from ..system.strict import InputError, path_of


def pack(
    source: Annotated[
        str, typer.Argument(help="photos10, cifar10, imagenette[-160|-320|-full], imagenet, folder:PATH or a path")
    ],
    dest: Annotated[str, typer.Argument(help="folder of the packed set")],
    size: Annotated[int, typer.Option(min=1, max=4096, help="shorter side, then the central square, in pixels")] = 256,
    holdout: Annotated[
        float, typer.Option(min=0, max=0.9, help="share of a tree without a split that becomes the test split")
    ] = 0.0,
    shard: Annotated[str, typer.Option(metavar="I/N", help="do the I-th of N parts, I from 1, on this machine")] = "1/1",
    workers: Annotated[int | None, typer.Option(min=1, max=4096, help="processes; by default one a core")] = None,
    allow_broken: Annotated[bool, typer.Option(help="finish with more than 1 % broken images")] = False,
):
    """Prepare a source as section 2 says and pack it; started again, it goes on where it was."""
    from .dataset import pack as pack_set

    try:
        part, of = (int(n) for n in shard.split("/"))
        if not 1 <= part <= of:
            raise ValueError
    except ValueError:
        raise InputError(f"--shard is I/N with 1 <= I <= N, such as 2/8, not {shard!r}") from None
    print(
        pack_set(
            source, path_of(dest), size=size, holdout=holdout, shard=(part - 1, of), workers=workers, allow_broken=allow_broken
        )
    )
