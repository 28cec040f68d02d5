"""`sora-jax data encode`: latents and text states of shards, computed once."""

import argparse
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.errors import UsageError

SUMMARY = "write shards with latents or text states of a model in their records"
EXAMPLE = "sora-jax data encode data/film --model runs/videos --latents --text -o data/film_latents"

_SHOWN = 20  # records left out that are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", metavar="SHARDS", help="directory with MANIFEST.json")
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a run directory, an exported bundle, or toyworld; its frozen networks encode",
    )
    parser.add_argument(
        "--latents", action="store_true", help="of the autoencoder, in place of the videos"
    )
    parser.add_argument("--text", action="store_true", help="states of the text encoder")
    parser.add_argument(
        "--batch",
        type=int,
        default=128,
        metavar="B",
        help="chunks of 4 frames at a time, over all devices (128)",
    )
    shared.add_shards_output(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Encode every split; records keep their order, ids, captions and scores."""
    import hashlib
    import json
    from pathlib import Path

    import jax

    from data_pipelines import shards
    from sora_jax.cli import progress
    from sora_jax.data import index, records
    from sora_jax.export.bundle import open_model
    from sora_jax.precompute.latents import LatentEncoder, encode_latents
    from sora_jax.precompute.text import SmallText, embed_text
    from sora_jax.sharding import mesh as meshes

    if not (args.latents or args.text):
        raise UsageError("nothing is to be encoded; add --latents, --text or both")
    if Path(args.out).absolute() == Path(args.shards).absolute():
        raise UsageError(f"-o {args.out} is the shards that are read; name another directory")
    found = index.read_index(args.shards)
    bundle = open_model(args.model)
    mesh = meshes.make_mesh(meshes.MeshConfig(), jax.local_devices())
    left_out: list[str] = []
    splits: dict[str, Any] = {}
    latents = LatentEncoder(bundle.model, bundle.params["vae"], mesh, batch_size=args.batch)
    text = SmallText(bundle.model, bundle.params["dit"], bundle.tokenizer, bundle.digest)
    for split in found.splits:
        source = records.open_split(args.shards, split)
        splits[split] = (
            encode_latents(source, latents, report=left_out.append)
            if args.latents
            else (source[i] for i in range(len(source)))
        )
        if args.text:
            splits[split] = embed_text(splits[split], text)
    source_digest = hashlib.sha256((Path(args.shards) / index.MANIFEST).read_bytes()).hexdigest()
    settings = {
        "kind": "encoded",
        "source": source_digest,
        "model": bundle.digest,
        "latents": args.latents,
        "text": args.text,
        "of": dict(found.settings),
    }
    with progress.bar("encoding", sum(map(len, found.splits.values()))) as bar:
        shards.write(
            args.out,
            splits,
            fingerprint=json.dumps(settings, sort_keys=True),
            settings=settings,
            progress=lambda *_: bar.update(),
        )
    written = index.read_index(args.out)
    counts = {split: len(columns) for split, columns in written.splits.items()}
    size = sum(int(columns.payload_bytes.sum()) for columns in written.splits.values())
    return {
        "splits": counts,
        "left_out": sum(map(len, found.splits.values())) - sum(counts.values()),
        "bytes": size,
        "output": args.out,
        "notes": left_out[:_SHOWN],
    }
