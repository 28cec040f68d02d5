"""The style sheet of the report."""

CSS = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#687076;--line:#e3e6e8;--page:#fff;
--card:#f7f8f9;--good:#14804a;--bad:#c62a2f;--a:#2563eb;--b:#d9730d;
--c:#0f8a7e;--d:#9333ea;--e:#b4477a}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa3ab;--line:#30363c;
--page:#14171a;--card:#1d2125;--good:#4cc38a;--bad:#ff6369;--a:#6ea8fe;--b:#f5a15b;
--c:#4fd1c5;--d:#c084fc;--e:#f08ab8}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:68rem;background:var(--page);
color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header{border-bottom:1px solid var(--line);margin-bottom:2rem;padding-bottom:1rem}
h1{font-size:2.1rem;line-height:1.2;margin:.2rem 0 .6rem;letter-spacing:-.02em}
h2{font-size:1.25rem;margin:2.6rem 0 .8rem}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
.kind,.note,.soft,small,dt,figcaption{color:var(--soft)}
.kind{margin:0;font-size:.85rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.42rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:500;font-size:.82rem}
tbody th{font-weight:500}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
td small{display:block;font-size:.72rem}
.right{color:var(--good)}
.wrong{color:var(--bad)}
.chance th,.chance td{color:var(--soft)}
.grid-of-clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.9rem}
.clip{background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden;
color:var(--ink);font-size:.82rem;line-height:1.35}
.clip[style*="--ratio:2"],.clip[style*="--ratio:3"]{grid-column:span 2}
.clip.wrong{border-color:var(--bad)}
.clip video{display:block;width:100%;aspect-ratio:var(--ratio);image-rendering:pixelated}
.clip p{margin:.5rem .65rem}
.clip .mark{font-weight:600;color:var(--good)}
.clip.wrong .mark{color:var(--bad)}
.clip ul{margin:.3rem .65rem .6rem;padding-left:1rem;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1.2rem}
figure{margin:0}
figcaption{font-size:.85rem}
svg{width:100%;height:auto}
.line{fill:none;stroke-width:1.6}
.s0{stroke:var(--a)}.s1{stroke:var(--b)}.s2{stroke:var(--c)}.s3{stroke:var(--d)}
.s4{stroke:var(--e)}
.key{margin-left:.6rem}
.key.s0{color:var(--a)}.key.s1{color:var(--b)}.key.s2{color:var(--c)}
.key.s3{color:var(--d)}.key.s4{color:var(--e)}
.grid{stroke:var(--line)}
.tick{fill:var(--soft);font-size:11px;text-anchor:middle}
.tick.end{text-anchor:end}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;font-size:.9rem}
dd{margin:0;overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:.8rem;font-size:.78rem}
"""
