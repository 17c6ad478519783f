"""The search page: a form, and the three systems side by side. What a query or a document says is escaped."""

from __future__ import annotations

from flask import Flask, render_template_string, request

from ddro.core.command import UserError
from ddro.report.html import page
from ddro.retrieval.search import SearchEngine

PAGE = page(
    "Search",
    """<small>{{ experiment }}: BM25 ranks by shared words; SFT and DDRO write docids, whose tokens are
shown, the darker the likelier.</small>
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
""",
)


def search_app(engine: SearchEngine, experiment: str, depth: int) -> Flask:
    """The page at ``/``, the query as its parameter ``q``."""
    app = Flask("ddro")

    @app.get("/")
    def show() -> str:
        query, answers, error = request.args.get("q", ""), [], None
        if "q" in request.args:
            try:
                answers = engine.search(query, depth)
            except UserError as problem:
                error = str(problem)
        return render_template_string(PAGE, experiment=experiment, query=query, answers=answers, error=error)

    return app
