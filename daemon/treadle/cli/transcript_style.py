"""The styles of the HTML page of a transcript, light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf7; --card: #ffffff; --sunk: #f3f1ec; --line: #e2ded5; --text: #23211d; --soft: #6d675c;
  --accent: #2f6f8f; --user: #e8f1f5; --good: #2e7d4f; --bad: #b3372c; --wait: #9a6700; --ask: #7a4b9a;
  --plus: #e3f3e6; --minus: #fae5e2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --card: #1c1f23; --sunk: #101214; --line: #30343a; --text: #e3e1dc; --soft: #9b978e;
    --accent: #7fbfda; --user: #1d2f38; --good: #7ccf9a; --bad: #f08a7e; --wait: #e0b050; --ask: #c79be6;
    --plus: #16301f; --minus: #3a1d1b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
header, main, footer { max-width: 56rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.75rem; }
main { padding-top: 2rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .6rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
code, pre, .id {
  font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
code { font-size: .875em; background: var(--sunk); border-radius: 4px; padding: .1em .3em; overflow-wrap: anywhere; }
.about { color: var(--soft); font-size: .875rem; margin: 0; display: flex; flex-wrap: wrap; gap: .15rem 1.25rem; }
.about span { overflow-wrap: anywhere; }
nav { margin: 1.4rem 0 0; }
nav ol { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; padding: 0; }
nav a {
  display: block; padding: .2rem .7rem; border: 1px solid var(--line); border-radius: 999px; background: var(--card);
  color: var(--text); font-size: .8125rem; text-decoration: none; font-variant-numeric: tabular-nums;
}
nav a::before {
  content: ""; display: inline-block; width: .5rem; height: .5rem; margin-right: .45rem; border-radius: 50%;
  background: var(--dot);
}
nav a:hover, nav a:focus-visible { border-color: var(--accent); }
h2 {
  display: flex; align-items: baseline; gap: .75rem; margin: 0 0 1.1rem; font-size: 1rem; font-weight: 650;
}
section + section { margin-top: 2rem; }
h2::after { content: ""; flex: 1; border-top: 1px solid var(--line); align-self: center; }
h2 time { color: var(--soft); font-weight: 400; font-size: .875rem; font-variant-numeric: tabular-nums; }
.timeline { list-style: none; margin: 0; padding: 0; }
.timeline > li {
  position: relative; display: grid; grid-template-columns: 4.6rem minmax(0, 1fr); column-gap: 2rem;
  padding-bottom: 1rem;
}
.timeline > li::before {
  content: ""; position: absolute; left: 5.55rem; top: .75rem; bottom: -.75rem; border-left: 2px solid var(--line);
}
.timeline > li:last-child::before { display: none; }
.timeline > li::after {
  content: ""; position: absolute; left: calc(5.55rem - 4px); top: .5rem; width: 10px; height: 10px; border-radius: 50%;
  background: var(--page); border: 2px solid var(--dot, var(--soft));
}
.timeline > li > time {
  grid-column: 1; text-align: right; color: var(--soft); font-size: .75rem; line-height: 1.625rem;
  font-variant-numeric: tabular-nums;
}
.timeline > li > div, .timeline > li > details { grid-column: 2; min-width: 0; }
.timeline > .tool > time { line-height: 2.25rem; }
.timeline > .tool::after { top: .82rem; }
.user { --dot: var(--accent); }
.user::after { background: var(--accent) !important; }
.assistant { --dot: var(--text); }
.good { --dot: var(--good); }
.bad { --dot: var(--bad); }
.wait { --dot: var(--wait); }
.ask { --dot: var(--ask); }
.checkpoint { --dot: var(--accent); }
.changes { --dot: var(--accent); }
.changes details + details { margin-top: .4rem; }
.changes .who { margin-bottom: .3rem; }
.count { color: var(--dot); font-variant-numeric: tabular-nums; font-weight: 400; }
.who { font-size: .8125rem; font-weight: 650; line-height: 1.625rem; }
.user .who { color: var(--accent); }
.text { overflow-wrap: anywhere; unicode-bidi: isolate; max-width: 44rem; }
.text p { margin: 0; white-space: pre-wrap; }
.text .language { margin: .4rem 0 -.3rem; font-size: .75rem; color: var(--soft); }
.user .text { background: var(--user); border-radius: 8px; padding: .6rem .9rem; width: fit-content; max-width: 100%; }
.system .text { color: var(--soft); }
pre {
  margin: .4rem 0; padding: .7rem .9rem; background: var(--sunk); border-radius: 8px; overflow: auto; max-height: 32rem;
  font-size: .8125rem; line-height: 1.5; tab-size: 4; unicode-bidi: isolate;
}
pre code { padding: 0; background: none; font-size: inherit; overflow-wrap: normal; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
summary {
  cursor: pointer; padding: .35rem .75rem; display: flex; flex-wrap: wrap; align-items: baseline; gap: .15rem .6rem;
  font-size: .875rem; list-style: none; border-radius: 8px;
}
summary::-webkit-details-marker { display: none; }
summary::before { content: "▸"; color: var(--soft); font-size: .75rem; width: .6rem; }
details[open] > summary::before { content: "▾"; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
summary code { background: none; padding: 0; font-size: .8125rem; }
.kind { color: var(--soft); }
.inside { padding: 0 .9rem .6rem; border-top: 1px solid var(--line); }
.inside > .text { margin-top: .6rem; }
.inside h3 { margin: .7rem 0 0; font-size: .75rem; font-weight: 600; color: var(--soft); overflow-wrap: anywhere; }
.status { margin-left: auto; font-size: .8125rem; color: var(--dot, var(--soft)); white-space: nowrap; }
.line { font-size: .875rem; line-height: 1.625rem; overflow-wrap: anywhere; }
.line b { font-weight: 600; color: var(--dot); }
.plus { background: var(--plus); display: inline-block; min-width: 100%; }
.minus { background: var(--minus); display: inline-block; min-width: 100%; }
.hunk { color: var(--soft); }
.end { color: var(--dot, var(--soft)); }
footer { color: var(--soft); font-size: .8125rem; padding-top: 2rem; padding-bottom: 3rem; }
@media (max-width: 40rem) {
  .timeline > li { grid-template-columns: minmax(0, 1fr); padding-left: 1.4rem; }
  .timeline > li > time, .timeline > .tool > time { text-align: left; line-height: 1.625rem; }
  .timeline > li > div, .timeline > li > details { grid-column: 1; }
  .timeline > li::before { left: .3rem; }
  .timeline > li::after, .timeline > .tool::after { left: calc(.3rem - 4px); top: .5rem; }
}
@media print {
  body { font-size: 11pt; }
  pre { max-height: none; white-space: pre-wrap; }
  nav { display: none; }
}
"""
