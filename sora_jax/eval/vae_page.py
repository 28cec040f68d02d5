"""The page of an autoencoder: clips beside their reconstructions, figures, latents, curves."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from sora_jax.eval import page
from sora_jax.eval.charts import line_chart
from sora_jax.eval.running import Example

ROWS = {
    "psnr": ("PSNR", "{:.2f} dB", "of the mean squared error over all clips; more is better"),
    "linear_psnr": ("linear codec", "{:.2f} dB", "principal components, as many channels"),
    "psnr_worst": ("PSNR, worst clip", "{:.2f} dB", ""),
    "ssim": ("SSIM", "{:.4f}", "1 is equal"),
    "flicker": ("flicker", "{:.2f}", "error of the change from frame to frame, of 255"),
    "flicker_borders": ("flicker between chunks", "{:.2f}", "where one chunk ends"),
    "flicker_inside": ("flicker within chunks", "{:.2f}", ""),
    "motion": ("motion", "{:.2f}", "change from frame to frame of the source, of 255"),
    "gradient_energy": ("sharpness", "{:.3f}", "gradient energy, 1 is the source's"),
    "compression": ("compression", "{:.4g}", "pixel values for each latent value"),
    "params": ("parameters", "{:,}", ""),
}


def render(
    report: Mapping[str, Any],
    examples: Sequence[Example],
    metrics: Sequence[Mapping[str, float]],
    config: Mapping[str, Any],
) -> str:
    """The whole page. `metrics` and `config` are those of the training, where they are at hand."""
    clips = report["clips"]
    sections = [
        _header(report),
        page.section("Figures", _figures(report)),
        *page.galleries(examples, clips["fps"]),
        page.section("Latents", _latents(report["latents"])),
        page.section("Curves", _curves(metrics)),
        page.section("Clips", _clips(clips)),
        page.section("Run", page.origin(report, _model(report)) + page.settings_of(config)),
    ]
    return page.document("autoencoder", sections)


def _header(report: Mapping[str, Any]) -> str:
    vae, clips = report["vae"], report["clips"]
    width, height = clips["size"]
    facts = (
        f"{clips['n']} clips of {clips['frames']} frames, {width}x{height}, of {clips['source']}"
        f" ({clips['split']}). A latent value stands for {vae['compression']:.4g} of the clip's."
    )
    return (
        "<header><p class='kind'>sora_jax report: autoencoder</p>"
        f"<h1>{vae['psnr']:.2f} dB, a linear codec {vae['linear_psnr']:.2f} dB</h1>"
        f"<p>{html.escape(facts)}</p></header>"
    )


def _figures(report: Mapping[str, Any]) -> str:
    rows = [
        (title, form.format(report["vae"][name]), words)
        for name, (title, form, words) in ROWS.items()
        if report["vae"].get(name) is not None
    ]
    for name, distance in report["perceptual"].items():
        rows.append(("perceptual distance", f"{distance:.4f}", f"features of {name}"))
    for name, far in report["frechet"].items():
        words = f"{far['frames']} frames, {far['dims']} features of {name}"
        rows.append(("Frechet distance", f"{far['distance']:.4f}", words))
    lines = "".join(
        f'<tr><th scope="row">{html.escape(title)}</th><td class="number">{value}</td>'
        f'<td class="soft">{html.escape(words)}</td></tr>'
        for title, value, words in rows
    )
    return f'<div class="wide"><table><tbody>{lines}</tbody></table></div>'


def _latents(latents: Mapping[str, Any]) -> str:
    facts = (
        f"Mean {latents['mean']:.3f}, standard deviation {latents['std']:.3f}; "
        f"{latents['effective_channels']:.1f} of {latents['channels']} channels are effective "
        "(participation ratio). KL from the standard Gaussian, over all channels: "
        f"{latents['kl']:.2f} nats."
    )
    charts = [
        line_chart(
            {"": list(enumerate(sorted(latents[name], reverse=True)))},
            x_label="channels, in order of size",
            y_label=title,
        )
        for name, title in (
            ("channel_std", "standard deviation of a channel"),
            ("channel_kl", "KL of a channel, nats"),
        )
    ]
    return f"<p>{facts}</p>" + '<div class="charts">' + "".join(charts) + "</div>"


def _curves(metrics: Sequence[Mapping[str, float]]) -> str:
    def line(name: str) -> list[tuple[float, float]]:
        return [
            (values["step"], values[name]) for values in metrics if values.get(name) is not None
        ]

    psnr = {"training": line("psnr"), "held out": line("heldout_psnr")}
    charts = [
        line_chart(psnr, x_label="steps", y_label="PSNR in dB"),
        line_chart({"": line("loss")}, x_label="steps", y_label="loss", is_log=True),
        line_chart(
            {"": line("grad_norm")}, x_label="steps", y_label="norm of the gradient", is_log=True
        ),
    ]
    drawn = "".join(charts)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _clips(clips: Mapping[str, Any]) -> str:
    lines = "\n".join(f"{clip['sha256'][:16]}  {clip['id']}" for clip in clips["list"])
    return (
        "<p>The same clips, pixel for pixel, have the digest "
        f"{clips['sha256'][:16]}.</p><details><summary>their names and the beginning of their "
        f"SHA-256</summary><pre>{html.escape(lines)}</pre></details>"
    )


def _model(report: Mapping[str, Any]) -> dict[str, str]:
    names = ("model", "model_digest")
    return {name.replace("_", " "): str(report[name]) for name in names if name in report}
