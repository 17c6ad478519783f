"""The search page: a form, and the three systems side by side. What a query or a document says is escaped."""

from __future__ import annotations

from flask import Flask, render_template_string, request

from ddro.core.command import UserError
from ddro.retrieval.search import SearchEngine

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>DDRO search</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 1.5rem auto; max-width: 84rem }
body { padding: 0 1rem } form { display: flex; gap: .5rem; margin: 1rem 0 } small, .empty { color: #57606a }
input[type=search] { flex: 1; font: inherit; padding: .5rem .7rem; border: 1px solid #8c959f; border-radius: 6px }
button { font: inherit; padding: .5rem 1.2rem; border: 0; border-radius: 6px; background: #0072b2; color: #fff }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem }
h2 { font-size: 1.05rem; border-bottom: 2px solid #57606a; margin: .5rem 0 } h2 small { font-weight: 400; float: right }
ol { padding-left: 1.4rem; margin: 0 } li { margin: 0 0 .9rem; overflow-wrap: anywhere } a { color: #0a58a0 }
.tokens { display: flex; flex-wrap: wrap; gap: .2rem; margin: .25rem 0; font: 12px/1.4 ui-monospace, monospace }
.tokens span { border-radius: 4px; padding: 0 .3rem; background: rgb(0 114 178 / var(--p)); border: 1px solid #d8dee4 }
.error { color: #b3261e } summary { cursor: pointer; color: #57606a; font-size: 13px }
</style>
</head>
<body>
<h1>Search</h1>
<small>{{ experiment }}: BM25 ranks by shared words; SFT and DDRO write docids, whose tokens are shown, the darker the
likelier.</small>
<form>
<input type="search" name="q" value="{{ query }}" placeholder="how do I rotate a key" aria-label="Query" autofocus>
<button>Search</button></form>
{% if error %}<p class="error">{{ error }}</p>{% endif %}
<main>
{% for answer in answers %}
<section id="{{ answer.system }}">
<h2>{{ answer.system.upper() }}<small>{{ "%.0f"|format(answer.milliseconds) }} ms</small></h2>
{% if not answer.hits %}<p class="empty">No document has a word of the query.</p>{% endif %}
<ol>
{% for hit in answer.hits %}
<li>{% if hit.url.startswith("https://") %}<a href="{{ hit.url }}" rel="noreferrer"><b>{{ hit.docno }}</b></a>
{% else %}<b>{{ hit.docno }}</b>{% endif %} <small>{{ "%.2f"|format(hit.score) }}</small><br>{{ hit.title }}
{% if hit.tokens %}<div class="tokens">{% for token, p in hit.tokens %}
<span style="--p: {{ "%.2f"|format(p * 0.6) }}" title="probability {{ "%.4f"|format(p) }}">{{ token }}
{{ "%.2f"|format(p) }}</span>{% endfor %}</div>{% endif %}
<details><summary>text</summary>{{ hit.body[:1500] }}</details></li>
{% endfor %}
</ol>
</section>
{% endfor %}
</main>
</body>
</html>
"""


def search_app(engine: SearchEngine, experiment: str, depth: int) -> Flask:
    """The page at ``/``, the query as its parameter ``q``."""
    app = Flask("ddro")

    @app.get("/")
    def page() -> str:
        query, answers, error = request.args.get("q", ""), [], None
        if "q" in request.args:
            try:
                answers = engine.search(query, depth)
            except UserError as problem:
                error = str(problem)
        return render_template_string(PAGE, experiment=experiment, query=query, answers=answers, error=error)

    return app
