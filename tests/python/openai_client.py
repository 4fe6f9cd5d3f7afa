"""The stock `openai` package against a running daemon, over its Unix socket.

Usage: openai_client.py SOCKET

Works with any model: it compares answers with each other and checks shapes, never what the text says.
Exits 1 with the first thing that is wrong.
"""

import sys

import openai

try:
    import httpx2 as httpx
except ImportError:  # before version 3 of the client
    import httpx


def connect(socket: str) -> openai.OpenAI:
    transport = httpx.HTTPTransport(uds=socket)
    return openai.OpenAI(
        base_url="http://woolly/v1",
        api_key="unused",
        http_client=httpx.Client(transport=transport),
        max_retries=0,
    )


def models(client: openai.OpenAI) -> str:
    listed = client.models.list().data
    assert len(listed) == 1, f"{len(listed)} models"
    name = listed[0].id
    assert name and listed[0].object == "model"
    return name


def completions(client: openai.OpenAI, model: str) -> None:
    request = dict(model=model, prompt="Hello", max_tokens=8, temperature=0)
    answer = client.completions.create(**request)
    assert answer.object == "text_completion", answer.object
    choice = answer.choices[0]
    assert choice.index == 0 and choice.finish_reason in ("length", "stop"), choice
    assert answer.usage.prompt_tokens >= 1 and answer.usage.completion_tokens <= 8, answer.usage
    total = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.total_tokens == total, answer.usage
    again = client.completions.create(**request)
    assert again.choices[0].text == choice.text, "the same request gave another text"

    chunks = list(client.completions.create(stream=True, **request))
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text == choice.text, f"the stream says {text!r} and the answer {choice.text!r}"

    drawn = dict(request, temperature=1.0, seed=7)
    first, second = (client.completions.create(**drawn).choices[0].text for _ in range(2))
    assert first == second, "the same seed gave another text"

    several = client.completions.create(**dict(request, prompt=["Hello", "World"]))
    assert [choice.index for choice in several.choices] == [0, 1], several.choices
    assert several.choices[0].text == choice.text, "a neighbour changed the text"


def chat(client: openai.OpenAI, model: str) -> None:
    messages = [
        {"role": "system", "content": "You are a sheep."},
        {"role": "user", "content": "Who are you?"},
    ]
    request = dict(model=model, messages=messages, max_tokens=8, temperature=0)
    answer = client.chat.completions.create(**request)
    assert answer.object == "chat.completion", answer.object
    message = answer.choices[0].message
    assert message.role == "assistant" and isinstance(message.content, str), message

    stream = client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **request
    )
    text, finish, usage = "", None, None
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk", chunk.object
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    assert text == message.content, f"the stream says {text!r} and the answer {message.content!r}"
    assert finish == answer.choices[0].finish_reason, finish
    assert usage == answer.usage, f"{usage} and {answer.usage}"


def errors(client: openai.OpenAI, model: str) -> None:
    try:
        client.completions.create(model=model, prompt="Hello", temperature=-1)
    except openai.BadRequestError as error:
        assert error.status_code == 400 and error.param == "temperature", error.body
    else:
        raise AssertionError("a negative temperature was accepted")
    try:
        client.completions.create(model=model, prompt="Hello", extra_body={"max_tokens": "many"})
    except openai.BadRequestError as error:
        assert error.param == "max_tokens", error.body
    else:
        raise AssertionError("max_tokens that is no number was accepted")


def main(socket: str) -> None:
    client = connect(socket)
    model = models(client)
    for test in (completions, chat, errors):
        test(client, model)
        print(f"{test.__name__}: ok")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
