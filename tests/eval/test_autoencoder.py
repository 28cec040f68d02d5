"""If these fail, an autoencoder is praised for what it did not keep, or blamed for what it did."""

import json

import numpy as np
import pytest
from scipy import ndimage

from sora_jax import media
from sora_jax.eval import reconstruction, vae_report
from sora_jax.eval.autoencoder import Features, PinnedClips, evaluate_vae, latent_figures, summarise
from sora_jax.eval.frechet import frechet_distance

RNG = np.random.default_rng(0)


def clips(count=3, frames=8, size=24):
    videos = RNG.integers(0, 256, (count, frames, size, size, 3), np.uint8)
    ids = tuple(f"clip{i}" for i in range(count))
    return PinnedClips(source="noise", split="heldout", fps=8.0, ids=ids, videos=videos)


class Shifted:
    """A codec whose latents are 2x2 means and whose reconstruction is brighter by `offset`."""

    def __init__(self, offset):
        self._offset = offset

    def encode(self, video):
        self._video = video
        return RNG.normal(size=(len(video), video.shape[1] // 4, 3, 3, 5)).astype(np.float32)

    def decode(self, latents):
        return np.clip(self._video.astype(int) + self._offset, 0, 255).astype(np.uint8)


def slow_ssim(a, b):
    """SSIM of one frame by scipy, colour by colour, on the window's whole places."""
    found = []
    for i in range(3):
        x, y = a[..., i].astype(float), b[..., i].astype(float)

        def mean(z):
            return ndimage.gaussian_filter(z, 1.5, radius=5)[5:-5, 5:-5]

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        c1, c2 = 2.55**2, 7.65**2
        found.append(
            ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        )
    return np.mean(found)


def test_ssim_is_that_of_an_independent_program():
    a = RNG.integers(0, 256, (2, 1, 32, 40, 3), np.uint8)
    b = np.clip(a.astype(int) + RNG.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    each = reconstruction.ssim_each(a, b)
    expected = [slow_ssim(a[i, 0], b[i, 0]) for i in range(2)]
    np.testing.assert_allclose(each, expected, rtol=1e-6)
    assert 0.2 < each[0] < 0.95 and reconstruction.ssim_each(a, a) == [1.0, 1.0]


def test_flicker_sees_change_and_not_constant_error():
    """A still clip plus a constant has none; plus noise that is new in each frame it has."""
    still = np.full((2, 8, 16, 16, 3), 100, np.uint8)
    assert reconstruction.flicker(still, still + 20, 4)["flicker"] == 0
    noisy = (still + RNG.integers(0, 20, still.shape)).astype(np.uint8)
    assert 5 < reconstruction.flicker(still, noisy, 4)["flicker"] < 8
    # The same motion in both is no flicker.
    moving = np.stack([np.roll(noisy[:, 0], t, axis=2) for t in range(8)], 1)
    found = reconstruction.flicker(moving, moving, 4)
    assert found["flicker"] == 0 and found["motion"] > 5


def test_flicker_between_chunks_is_told_from_that_within():
    source = np.full((1, 12, 8, 8, 3), 100, np.uint8)
    jumps = source + np.repeat([0, 10, 0], 4).astype(np.uint8)[None, :, None, None, None]
    found = reconstruction.flicker(source, jumps, 4)
    assert (found["flicker_borders"], found["flicker_inside"]) == (10, 0)


def test_blur_loses_gradient_energy():
    sharp = clips().videos
    blurred = ndimage.uniform_filter(sharp.astype(float), (0, 0, 3, 3, 0)).astype(np.uint8)
    ratio = reconstruction.gradient_energy(blurred) / reconstruction.gradient_energy(sharp)
    assert ratio < 0.3


@pytest.mark.parametrize("rows", [20, 4000])
def test_the_frechet_distance_is_the_formula(rows):
    """Against scipy's matrix root, with fewer and with more rows than features."""
    from scipy.linalg import sqrtm

    a = RNG.normal(size=(rows, 30)) @ RNG.normal(size=(30, 30))
    b = RNG.normal(1, 2, size=(rows + 3, 30))
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = np.real(sqrtm(ca @ cb + 1e-9 * np.eye(30)))
    gap = a.mean(0) - b.mean(0)
    expected = gap @ gap + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * np.trace(ca))


def test_latents_of_unit_gaussians_carry_all_channels_and_no_divergence():
    found = latent_figures(RNG.normal(size=(64, 4, 8, 8, 6)).astype(np.float32))
    assert found["std"] == pytest.approx(1, abs=0.02) and found["kl"] < 0.01
    assert found["effective_channels"] == pytest.approx(6, abs=0.05)


def test_one_loud_channel_is_the_only_effective_one():
    latents = RNG.normal(size=(8, 2, 8, 8, 4)) * [10, 0.1, 0.1, 0.1]
    found = latent_figures(latents.astype(np.float32))
    assert found["effective_channels"] < 1.01
    # KL of N(0, 10^2) from N(0, 1): (100 - 1 - ln 100) / 2.
    assert found["channel_kl"][0] == pytest.approx(47.2, rel=0.15)


def test_the_clips_are_named_and_a_pixel_more_is_another_list():
    judged = clips()
    found = judged.describe()
    assert [clip["id"] for clip in found["list"]] == ["clip0", "clip1", "clip2"]
    judged.videos[1, 0, 0, 0, 0] ^= 1
    again = judged.describe()
    changed = [a != b for a, b in zip(found["list"], again["list"], strict=True)]
    assert changed == [False, True, False] and again["sha256"] != found["sha256"]


def test_figures_of_a_codec_whose_error_is_known():
    judged = clips()
    judged.videos.clip(0, 200, out=judged.videos)
    features = Features(
        name="brightness",
        distance=lambda a, b: np.abs(a.mean((1, 2, 3, 4)) - b.mean((1, 2, 3, 4))),
        pooled=lambda videos: videos.mean((2, 3)).reshape(-1, 3),
    )
    found = evaluate_vae(Shifted(5), judged, features=[features]).figures
    assert found["vae"]["psnr"] == pytest.approx(20 * np.log10(255 / 5))
    assert found["vae"]["flicker"] == 0 and found["vae"]["gradient_energy"] == pytest.approx(1)
    assert found["perceptual"] == {"brightness": pytest.approx(5)}
    # The means of three colours are 5 higher, the spreads the same.
    far = found["frechet"]["brightness"]
    assert far == {"distance": pytest.approx(75, rel=1e-3), "frames": 24, "dims": 3}
    assert found["latents"]["channels"] == 5


def test_nothing_is_called_what_it_is_not():
    names = json.dumps(evaluate_vae(Shifted(5), clips()).figures).lower()
    assert "fvd" not in names and "lpips" not in names and "fid" not in names


def test_the_report_is_written_for_programs_and_for_people(tmp_path):
    found = evaluate_vae(Shifted(5), clips())
    figures = found.figures | {"model": "x", "model_digest": "y"}
    figures["vae"] |= {"linear_psnr": 20.0, "compression": 48.0, "params": 1000}
    out = tmp_path / "found.json"
    written = vae_report.write(out, figures, found.examples, command="sora-jax evaluate x")
    assert json.loads(out.read_text()) == written
    page = out.with_suffix(".html").read_text()
    for words in ("20.00 dB", "48", "sora-jax evaluate x", "clip2", "<video"):
        assert words in page, words
    # Three rows of source, reconstruction and error.
    sheet = media.read_image(out.with_suffix(".png"))
    assert sheet.shape[1] > 4 * 3 * 96 and sheet.shape[0] > 3 * 96
    assert summarise(written)["linear codec"].startswith("20.00 dB")
