"""Every field of a run with its default: the quickstart's small toy world. Others change it."""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The defaults; `arg` = "smoke" shrinks them to a run of seconds."""
    cfg = ConfigDict(
        {
            "name": "base",
            "until": "dit",  # vae | upscaler: train that alone; it takes the run directory
            "data": data(),
            "vae": vae(),
            "dit": dit(),
            "upscaler": upscaler(),
            "sampling": sampling(),
            "mesh": {"data": 1, "fsdp": -1, "context": 1, "tensor": 1},  # -1: all that are left
            "plan": {
                "topology": "cpu:8",  # v5p:4x4x4, v5e:4x4, v6e:4x4: where `sora-jax plan` puts it
                # A packed row to plan for: (how many, frames, height, width); none: one of data's.
                "clips": (),
                "tokens": 0,  # of that row; 0: those of its clips
            },
            "eval": {
                "samples": 256,  # clips of each set
                "shown": 8,  # fixed prompts that are sampled while training
            },
        }
    )
    if arg == "smoke":
        shrink(cfg)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg


def data() -> dict:
    """Clips and their one geometry."""
    return {
        "source": "toyworld",  # toyworld | physics | a directory of shards or of videos
        "num_train": 12288,  # clips to render
        "num_test": 320,  # clips to render of each other split: `heldout`, `seen` (toyworld)
        "num_vae": 4096,  # training clips that the VAE sees
        "size": (32, 32),  # height, width in pixels
        "num_frames": 16,
        "fps": 8.0,
        "max_windows": 8,  # cut from each video of a directory
        "packing": {  # rows of the transformer that several clips share, read from disk
            "row_tokens": 0,  # 0: one clip a row, all of one geometry, held in memory
            "max_clips": 16,  # of a row; each has room for text.max_tokens of text
            "max_frames": 64,  # latent frames of a row
            "image_share": 0.0,  # of all tokens, to still images; 0: as many as there are
            "max_bad_share": 0.001,  # of the records, before the run stops
            "reading": {
                "threads": 1,
                "workers": 0,  # processes that read ahead; 0: this one
                "batches": 8,  # kept ready
            },
        },
    }


def vae() -> dict:
    """The autoencoder and its training."""
    return {
        "model": {
            "channels": 32,  # of a latent
            "pack": 1,  # side of the square of neighbouring latents that become one
            "patch": 4,  # pixels folded into channels before the first level
            "widths": (128, 192),  # fine to coarse; each level halves the picture
            "blocks": 1,  # residual blocks a level
            "deep_encoder": False,  # a network beside the linear encoder
            "mlp_ratio": 4,
            "norm": True,  # of what blocks see; without it a network keeps the contrast
            "dtype": "bfloat16",
        },
        "loss": {
            "squared": 1.0,  # weights of the terms; 0: off and not computed
            "l1": 0.1,
            "charbonnier": 0.0,  # rounds |error| off at 0: sqrt(error^2 + charbonnier^2)
            "wavelet": 0.0,  # |error| in the detail bands of a Haar transform
            "latent_noise": 0.1,  # spread for the other clips; latents start at variance 1
            "rough_share": 1.0,  # clips from which the decoder alone learns; 1: the encoder stays
            "rough_noise": 0.3,  # its largest spread there, in root mean squares of latents
            "latent_penalty": 1e-5,  # half the weight of a KL of fixed spread `latent_noise`
            "perceptual": {
                "weight": 0.0,
                "network": "efficientnet_lite0",  # | lpips_vgg
                "weights": "",  # of lpips_vgg: a safetensors or npz file
                "frames": 0,  # of each clip, drawn; 0: all
            },
            "adversarial": {
                "weight": 0.0,  # in shares of the reconstruction's gradient at the pixels
                "start": 0,  # step from which the autoencoder hears the discriminator
                "max_adaptive": 1e4,  # bound on the ratio of the gradients
                "r1": 0.0,  # penalty on the discriminator's slope at real clips
                "discriminator": {"patch": 2, "widths": (64, 128), "dtype": "bfloat16"},
            },
        },
        "optimizer": optimizer(rate=1.5e-3, matrix_rate=2e-2),
        "loop": loop(minutes=3.0, batch_size=8),
        "augment": {  # what is drawn anew each time that a clip is seen
            "frames": 0,  # of a clip, in a row; 0: all
            "mirror": False,  # in space, and of squares rows and columns
            "reverse": False,  # in time
        },
        "normalise": "global",  # latents: one scale for all channels | channel: one for each
        "split": "frames",  # of a clip over the mesh's context devices: frames | height
    }


def dit() -> dict:
    """The transformer and its training."""
    return {
        "model": {
            "width": 128,
            "depth": 4,
            "num_heads": 4,
            "mlp_width": 0,  # 0: four times the width
            "text_attention": "joined",  # joined | cross: with the tokens' softmax, or one apart
            "patch": (1, 1, 1),  # latent frames, rows, columns
            "shortest_periods": (1.0, 0.5, 0.5),  # two tokens: seconds, mean sides
            "longest_periods": (16.0, 8.0, 8.0),
            "dtype": "float32",  # bfloat16 gains nothing on a CPU at this width
            "remat": "none",  # | products | attention | block | offload: kept for the way back
            "unroll": 4,  # layers in one turn of the loop over them
        },
        "text": {
            "width": 128,  # widened to the transformer's if it is another
            "depth": 1,
            "num_heads": 4,
            "vocab_size": 0,  # 0: the tokenizer's
            "max_tokens": 16,
            "dtype": "float32",
        },
        "diffusion": {
            "prediction": "x0",  # x0 | velocity: what the output stands for
            "loss_space": "x0",  # x0 | velocity: where the error is measured
            "weight_clip": 20.0,  # largest weight of a squared error of x0
            "noise": {
                "mean": 1.0,  # logit of sigma
                "spread": 1.6,
                "uniform_share": 0.1,
                "shift": 1.0,
                "one_share": 0.85,  # one level for all frames of a clip
                "independent_share": 0.1,
                "ramp_share": 0.05,
                "ramp_height": 6.0,  # logits
            },
            "tasks": {
                "text": 0.80,
                "first": 0.03,
                "prefix": 0.05,
                "suffix": 0.05,
                "both_ends": 0.02,
                "key_frames": 0.02,
                "random_frames": 0.015,
                "box": 0.015,
            },
            "drop_text": 0.08,
            "drop_condition": 0.05,
            "drop_both": 0.02,
        },
        "optimizer": optimizer(),
        "loop": loop(minutes=11.8, batch_size=16, eval_every=2500),
        "attention": {
            "backend": "xla",  # xla | splash (TPU)
            "ring": 1,  # of the mesh's context devices; 1: they exchange heads (Ulysses)
        },
        "still_share": 0.08,  # clips that begin with a held still image, which is given
        "global_share": 0.15,  # timed captions replaced by the global one
    }


def upscaler() -> dict:
    """The network that doubles the size of pictures, and its training (`until` upscaler)."""
    return {
        "model": {
            "width": 16,  # channels
            "depth": 4,  # convolutions
        },
        "frames": 2,  # of each clip
        "optimizer": optimizer(name="adamw", rate=3e-3, warmup=100),
        "loop": loop(steps=2000, batch_size=8, log_every=100),
    }


def sampling() -> dict:
    """How the model samples unless it is told otherwise."""
    return {
        "num_frames": 16,
        "size": (32, 32),
        "fps": 8.0,
        "steps": 24,
        "solver": "euler",
        "cfg_scale": 2.0,  # 1 = off
        "interval": (0.0, 1.0),  # noise levels at which guidance acts
        "rescale": 0.0,
        "shift": 2.0,
        "prediction": "x0",
    }


def optimizer(**changes) -> dict:
    """Defaults of an optimizer."""
    return {
        "name": "muon",  # muon (matrices of blocks; Adam for the rest) | adamw
        "rate": 2.4e-3,  # of Adam
        "matrix_rate": 8e-3,  # of Muon
        "base_width": 0,  # width at which the rates were found, to be used at another; 0: as given
        "warmup": 50,  # steps
        "cooldown": 0.8,  # last share of the run, in which the rate falls to 0
        "b2": 0.98,
        "weight_decay": 0.0,
        "clip": 1.0,  # of the global gradient norm
        "state_dtype": "float32",  # of moments: float32 | bfloat16
        "spike": 0.0,  # bound on the norm in running means of it, 10 say; 0: none
        "ns_steps": 3,  # Newton-Schulz iterations
        "discriminator_rate": 0.0,  # of its own Adam; 0: trained like the rest
    } | changes


def loop(**changes) -> dict:
    """Defaults of a training loop."""
    return {
        "steps": 0,  # 0: as many as fit in the minutes
        "minutes": 10.0,
        "batch_size": 16,  # rows
        "accumulate": 1,  # parts of a batch that are taken one after the other
        "log_every": 50,
        "checkpoint_every": 1000,
        "eval_every": 1000,
        "ema_gamma": 12.0,  # power EMA: larger is shorter
        "seed": 0,
        "max_skipped": 3,  # updates in a row that are not finite, and so are not applied
        "on_skipped": "stop",  # stop | rollback (to the newest checkpoint, with other samples)
        "watchdog": {  # seconds that each may take before the run ends with its stacks; 0: any
            "init": 3600.0,
            "restore": 3600.0,
            "compile": 3600.0,
            "step": 900.0,
            "data": 600.0,
            "save": 1800.0,
            "evaluate": 7200.0,
        },
    } | changes


def scale_minutes(cfg: ConfigDict, minutes: float) -> None:
    """Give the transformer `minutes` and the autoencoder in proportion, or all to what is alone."""
    if cfg.until == "vae":
        cfg.vae.loop.minutes = minutes
        return
    if cfg.until == "upscaler":
        cfg.upscaler.loop.update(minutes=minutes, steps=0)
        return
    cfg.vae.loop.minutes *= minutes / cfg.dit.loop.minutes
    cfg.dit.loop.minutes = minutes


def shrink(cfg: ConfigDict) -> None:
    """A run of seconds, for tests: every part works, nothing is learned."""
    cfg.data.update(num_train=24, num_test=8, num_vae=16)
    cfg.vae.model.update(widths=tuple(16 for _ in cfg.vae.model.widths), channels=4)
    cfg.dit.model.update(width=32, depth=2, num_heads=2)
    cfg.dit.text.update(width=32, num_heads=2, max_tokens=64)  # of few captions, most are spelled
    for part in (cfg.vae, cfg.dit, cfg.upscaler):
        part.loop.update(steps=6, batch_size=8, log_every=2, checkpoint_every=3, eval_every=6)
        part.optimizer.warmup = 2
    cfg.sampling.steps = 3
    cfg.eval.update(samples=4, shown=2)
