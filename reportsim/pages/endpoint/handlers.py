"""The page for an endpoint's numbers: the form, and what the endpoint can take."""

from collections.abc import Mapping

from aiohttp import web
from marshmallow import ValidationError

from reportsim.benchmark.endpoint.process import Answer, Question, QuestionError, answer_in_process
from reportsim.benchmark.request_log.units import Unit
from reportsim.core.problems import Problem, unavailable
from reportsim.pages.benchmarks import PREDICTIONS
from reportsim.pages.endpoint.form import (
    FILE,
    LONGEST_TEXT,
    MOST_FORM_BYTES,
    VALUES,
    TextTooLong,
    clean_text,
    describe_size,
    read_question,
    repeat_command,
)
from reportsim.pages.forms import parse_form
from reportsim.web.limits.expensive_requests import refuse_during_run
from reportsim.web.templating import html_page, render


@html_page
async def show_form(request: web.Request) -> web.StreamResponse:
    """The empty form."""
    return render_page(request, VALUES)


@html_page
async def submit_form(request: web.Request) -> web.StreamResponse:
    """The form with its answer, or as it was sent with what is wrong with it."""
    try:
        form = await parse_form(request, MOST_FORM_BYTES)
    except Problem as problem:
        if problem.slug != "too-large":
            raise
        # It is not read, so what was typed is unknown here; the page's script does not send such a form.
        size = request.content_length
        found = f"The encoded form has {size:,} bytes" if size else "The form is too long"
        return refuse(request, VALUES, problem, {"durations": describe_size(found)})
    values = {**VALUES, **{name: clean_text(form[name]) for name in VALUES if name in form}}
    try:
        question = read_question({name: form[name] for name in VALUES if name in form})
        return render_page(request, values, question=question, answer=await ask(request, question))
    except TextTooLong as error:
        return render_page(request, values, errors={"durations": str(error)}, status=413)
    except ValidationError as error:
        assert isinstance(error.messages, dict)
        errors = {str(name): str(texts[0]) for name, texts in error.messages.items()}
        return render_page(request, values, errors=errors, status=422)
    except QuestionError as error:
        return render_page(request, values, errors={error.field: str(error)}, status=422)
    except Problem as problem:
        return refuse(request, values, problem)


def refuse(
    request: web.Request, values: Mapping[str, str], problem: Problem, errors: Mapping[str, str] | None = None
) -> web.Response:
    """The form with its values and a problem, or the errors that tell more of it."""
    refusal = None if errors else problem.detail
    response = render_page(request, values, errors=errors, refusal=refusal, status=problem.status)
    response.headers.update(problem.headers)
    return response


async def ask(request: web.Request, question: Question) -> Answer:
    """The answer to a question.

    Raises:
        Problem: 503 while a run is measured, or where it takes too long.
        QuestionError: It has no answer.
    """
    refuse_during_run(request)
    with request.app[PREDICTIONS].permit():
        try:
            return await answer_in_process(question)
        except TimeoutError:
            raise unavailable("The prediction takes too long; fewer workers are predicted sooner.") from None


def render_page(
    request: web.Request,
    values: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    refusal: str | None = None,
    question: Question | None = None,
    answer: Answer | None = None,
    status: int = 200,
) -> web.Response:
    """The page."""
    return render(
        request,
        "endpoint.html",
        status=status,
        values=values,
        errors=errors or {},
        focused=next((name for name in VALUES if name in (errors or {})), None),
        longest_text=LONGEST_TEXT,
        refusal=refusal,
        units=list(Unit),
        answer=answer,
        command=None if question is None else repeat_command(question),
        file=FILE if question is not None and question.durations else None,
    )
