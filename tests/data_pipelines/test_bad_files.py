"""Each bad file is named with reason and remedy, and the rest of the run goes on."""

import io
import socket
from pathlib import Path

import av
import numpy as np
import pytest

from data_pipelines import local, pipeline
from data_pipelines.journal import Journal
from data_pipelines.stages.ingest import IngestConfig
from sora_jax import media
from sora_jax.errors import RunError, UsageError
from tests.data_pipelines import films

pytest.importorskip("scenedetect", reason="needs the extra data: make data-film installs it")


def run(directory, out, config=films.QUICK):
    """The records of a run over a folder, by the name of their source."""
    outcome = local.run([directory], out, config, processes=1)
    return {record.source: record for record in outcome.records}


def faststart(path):
    """The bytes of the same mp4 with its index in front."""
    target = path.with_name("front.tmp")
    with av.open(str(path)) as source:
        options = {"movflags": "faststart"}
        with av.open(str(target), "w", format="mp4", options=options) as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
    content = target.read_bytes()
    target.unlink()
    return content


def test_bad_files_are_rejected_by_name_and_the_good_one_is_kept(tmp_path):
    """Cut files with the index behind and in front, nothing, a web page, playlists, an address."""
    folder = tmp_path / "in"
    folder.mkdir()
    good = films.write(folder / "good.mp4", films.scene(1, 48))
    (folder / "good.txt").write_text("a coloured landscape passes by")
    content = good.read_bytes()
    bad = {
        "index_behind.mp4": content[: len(content) // 2],
        "index_before.mp4": faststart(good)[: len(content) * 6 // 10],
        "empty.mp4": b"",
        "page.mp4": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n%b\n#EXT-X-ENDLIST\n"
        % str(good).encode(),
        "list.avi": b"ffconcat version 1.0\nfile '%b'\n" % str(good).encode(),
        "address.webm": b"http://127.0.0.1:9/good.mp4",
        "noise.mov": bytes(range(256)) * 20,
    }
    for name, stored in bad.items():
        (folder / name).write_bytes(stored)
    found = run(folder, tmp_path / "out")
    assert not found["good.mp4"].is_rejected
    for name in bad:
        ((reason, sentence),) = found[name].decision.reasons
        assert reason == "unreadable" and name in sentence, sentence
        assert str(folder) not in sentence and ";" in sentence, sentence
    assert "truncated" in found["index_before.mp4"].decision.reasons[0][1]
    assert "a playlist" in found["playlist.mp4"].decision.reasons[0][1]
    assert "a web page" in found["page.mp4"].decision.reasons[0][1]
    assert "an address" in found["address.webm"].decision.reasons[0][1]


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_list_of_other_files_is_never_followed(kind):
    """In memory the first bytes are not looked at: still nobody calls at the address within."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/film.ts"
        text = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{address}'\n",
        }[kind]
        with pytest.raises(UsageError):
            media.probe(text.encode())
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_small_file_that_decodes_to_much_is_over_a_limit(tmp_path):
    """3.4 MB a frame of plain grey, 640 frames: 2 GB out of some tens of kilobytes."""
    path = tmp_path / "bomb.mp4"
    picture = av.VideoFrame.from_ndarray(np.full((1080, 1040, 3), 90, np.uint8), format="rgb24")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1040, 1080, "yuv420p"
        stream.codec_context.gop_size = 1000
        picture = picture.reformat(format="yuv420p")
        for i in range(640):
            picture.pts = i
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    size = path.stat().st_size
    assert 640 * 1080 * 1040 * 3 > 2e9 and size < 200_000
    stage = pipeline.steps(films.QUICK, tmp_path)[0]
    (record,) = pipeline.apply(stage, pipeline.seeds([path])[0])
    ((reason, sentence),) = record.decision.reasons
    assert reason == "over_limit" and "bomb.mp4" in sentence and "max_expansion" in sentence


def test_size_and_length_have_limits(tmp_path):
    path = films.write(tmp_path / "a.mp4", films.scene(1, 30))
    for limits in ({"max_frames": 29}, {"max_frame_pixels": 96 * 72 - 1}):
        with pytest.raises(ValueError, match=r"a\.mp4 .* over"):
            films.ingest(path, **limits)
    assert films.ingest(path, max_frames=30, max_frame_pixels=96 * 72).probe.num_frames == 30
    assert IngestConfig().max_frame_pixels >= 7680 * 4320


def test_a_file_without_rate_or_time_stamps_is_counted_or_refused(tmp_path):
    """A bare h264 stream states no rate: the decoder's guess is used, and never a rate of 0."""
    path = tmp_path / "bare.mp4"
    target = io.BytesIO()
    with av.open(target, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for frame in films.scene(1, 36):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(target.getvalue())
    record = films.ingest(path)
    assert record.probe.fps > 0 and record.probe.num_frames == 36
    (clip,) = films.clips(path, tmp_path)
    assert clip.media.num_frames == len(media.read_video(tmp_path / clip.media.path)[0])


def test_captions_that_are_wrong_or_missing_are_named(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(("good", "latin", "none", "broken", "untimed")):
        films.write(folder / f"{name}.mp4", films.scene(seed, 24))
    (folder / "good.txt").write_text("a landscape")
    (folder / "latin.txt").write_bytes("ein M\u00e4dchen l\u00e4uft".encode("latin-1"))
    (folder / "broken.json").write_text('{"caption": "a hill"')
    (folder / "untimed.jsonl").write_text('{"text": "a hill", "start": "soon"}\n')
    found = run(folder, tmp_path / "out")
    assert not found["good.mp4"].is_rejected
    reasons = {n: record.decision.reasons[0] for n, record in found.items() if n != "good.mp4"}
    assert reasons["latin.mp4"][0] == "bad_caption"
    assert "latin.txt is not UTF-8" in reasons["latin.mp4"][1]
    assert reasons["none.mp4"][0] == "no_caption" and "none.txt" in reasons["none.mp4"][1]
    assert "broken.json is not JSON" in reasons["broken.mp4"][1]
    assert reasons["untimed.mp4"][0] == "bad_caption"
    # A person corrects it and runs the same command again.
    (folder / "latin.txt").write_text("ein M\u00e4dchen l\u00e4uft", encoding="utf-8")
    again = run(folder, tmp_path / "out")
    assert not again["latin.mp4"].is_rejected


def test_the_same_bytes_and_the_same_name_are_found(tmp_path):
    """Equal files are one clip, the other is rejected; two of one name can't be told apart."""
    for name in ("a/one.mp4", "a/two.mp4", "b/one.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        films.write(tmp_path / name, films.scene(1, 24))
    for name in ("one", "two"):
        (tmp_path / "a" / f"{name}.txt").write_text("a landscape")
    found = run(tmp_path / "a", tmp_path / "out")
    assert not found["one.mp4"].is_rejected
    assert found["two.mp4"].decision.reasons[0] == (
        "same_file",
        "it has the bytes of one.mp4; keep one of both",
    )
    with pytest.raises(UsageError, match=r"two files are named one\.mp4"):
        pipeline.seeds([tmp_path / "a", tmp_path / "b"])


def test_sources_that_are_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is a URL"):
        pipeline.seeds(["https://example.com/film.mp4"])
    with pytest.raises(UsageError, match="no file or folder"):
        pipeline.seeds([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no video or image"):
        pipeline.seeds([tmp_path])


def test_a_full_disk_stops_the_run_with_one_line_and_it_goes_on_after(tmp_path, monkeypatch):
    """/dev/full stands for the disk: whatever is written there fails for lack of room."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    films.write(folder / "a.mp4", films.scene(1, 48))
    (folder / "a.txt").write_text("a landscape")
    begin = Journal.__init__

    def fill(journal, path, stage):
        begin(journal, path, stage)
        if journal._path.name == "score.jsonl":
            journal._file.close()
            journal._file = Path("/dev/full").open("ab", buffering=0)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__init__", fill)
        with pytest.raises(RunError, match=r"score\.jsonl: no space left on the disk"):
            run(folder, out)
    assert not run(folder, out)["a.mp4"].is_rejected
