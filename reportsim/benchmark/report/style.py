"""The style sheet of the exported report, and its Content-Security-Policy."""

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem clamp(.75rem,3vw,2rem) 3rem;max-width:62rem;
font:1rem/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
color:light-dark(#1b1f24,#e6edf3);background:light-dark(#fff,#0f1419)}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.125rem;line-height:1.3;margin:2.25rem 0 .25rem}
p{margin:.25rem 0;max-width:46rem}
.hint,figcaption{color:light-dark(#57606a,#9aa4af);font-size:.875rem}
.interval{white-space:nowrap}
.verdict{margin:1rem 0;padding:.75rem 1rem;border-left:.3rem solid light-dark(#0b5cad,#6cb6ff);
background:light-dark(#f6f8fa,#171d24);font-size:1.0625rem}
ul.verdict{padding-left:2rem}
details{margin-top:1rem}
summary{cursor:pointer}
summary h2{display:inline;margin:0}
.trust{margin-top:1rem}
.banner{margin:1rem 0;padding:.75rem 1rem;border:2px solid light-dark(#b3261e,#ff8f87);font-weight:600}
figure{margin:.75rem 0 0;overflow-x:auto}
svg{display:block;max-width:100%;height:auto;min-width:34rem}
.wide{overflow-x:auto;margin:.75rem 0}
.tables{display:flex;flex-wrap:wrap;gap:0 2.5rem}
.tables .wide{max-width:100%}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:start;font-weight:600;padding-bottom:.25rem}
th,td{padding:.25rem .9rem .25rem 0;text-align:start;vertical-align:top;
border-top:1px solid light-dark(#d5dbe1,#2b343e)}
thead th,thead td{border-top:0}
tbody th{font-weight:400}
.ok,.warn,.fail,.info,.not_run{font-weight:600;white-space:nowrap}
.ok{color:light-dark(#1a6b35,#5fd07f)}
.warn{color:light-dark(#8a5300,#f0b429)}
.fail{color:light-dark(#b3261e,#ff8f87)}
.info,.not_run{color:light-dark(#57606a,#9aa4af)}
dt{font-weight:600}
dd{margin:0 0 .5rem;max-width:46rem}
code{font-family:ui-monospace,"SF Mono","DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.9em}
@media print{
:root{color-scheme:light}
body{max-width:none;padding:0;font-size:10pt}
table{font-size:8pt;line-height:1.35}
h2,caption,thead{break-after:avoid}
figure,tr,.verdict,.tables .wide{break-inside:avoid}
svg{min-width:0;max-width:84%}
.wide,figure{overflow:visible}
summary{list-style:none}
details{margin-top:.5rem}
h2{margin-top:1rem}
details::details-content{content-visibility:visible}
@page{margin:15mm}
}
"""


def hash_source(text: str) -> str:
    """The source of an inline style or script in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY: Final = f"default-src 'none'; style-src {hash_source(STYLE)}; img-src data:"
