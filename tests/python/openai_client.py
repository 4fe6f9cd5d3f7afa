"""The stock `openai` package against a running daemon, over its Unix socket.

Usage: openai_client.py SOCKET

Works with any model: it compares answers with each other and checks shapes, never what the text says.
Exits 1 with the first thing that is wrong.
"""

import json
import sys
import time

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


def batches(client: openai.OpenAI, model: str) -> None:
    """The whole life of a file and its batch, and the ends that a batch can have."""

    def line(custom_id, body):
        return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})

    def ended(batch):
        while batch.status not in ("completed", "failed", "expired", "cancelled"):
            time.sleep(0.05)
            batch = client.batches.retrieve(batch.id)
        return batch

    def create(lines, **more):
        content = "\n".join(lines).encode()
        kept = {"anchor": "created_at", "seconds": 3600}
        file = client.files.create(file=("requests.jsonl", content), purpose="batch", expires_after=kept)
        assert file.expires_at == file.created_at + 3600, file
        assert file.object == "file" and file.purpose == "batch" and file.bytes == len(content), file
        assert client.files.retrieve(file.id) == file
        return file, client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more)

    def body(text):
        messages = [{"role": "user", "content": text}]
        return dict(model=model, messages=messages, max_tokens=6, temperature=0)

    requests = [line(f"r{i}", body(f"Say {i}")) for i in range(5)]
    file, batch = create(
        requests + [line("bad", {"messages": "no list"})],
        metadata={"run": "1"}, output_expires_after={"anchor": "created_at", "seconds": 7200})
    assert batch.object == "batch" and batch.input_file_id == file.id and batch.metadata == {"run": "1"}, batch
    done = ended(batch)
    counts = done.request_counts
    assert done.status == "completed", done
    assert (counts.total, counts.completed, counts.failed) == (6, 5, 1), counts
    answers = [json.loads(text) for text in client.files.content(done.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"r{i}" for i in range(5)], answers
    output = client.files.retrieve(done.output_file_id)
    assert output.purpose == "batch_output" and output.expires_at == output.created_at + 7200, output
    alone = client.chat.completions.create(**body("Say 3"))
    inside = answers[3]["response"]["body"]["choices"][0]["message"]["content"]
    assert inside == alone.choices[0].message.content, "a batch gave another answer"
    refused = [json.loads(text) for text in client.files.content(done.error_file_id).text.splitlines()]
    assert [(one["custom_id"], one["response"]["status_code"]) for one in refused] == [("bad", 400)], refused

    _, twice = create([requests[0], requests[0]])
    twice = ended(twice)
    assert twice.status == "failed" and twice.output_file_id is None, twice
    problem = twice.errors.data[0]
    assert (problem.code, problem.line) == ("duplicate_custom_id", 2), problem

    # Far more than it can have done by then.
    long = dict(body("x"), max_tokens=400, ignore_eos=True)
    needed, unwanted = create([line(f"long{i}", long) for i in range(300)])
    try:
        client.files.delete(needed.id)
        raise AssertionError("a file that a batch needs was deleted")
    except openai.ConflictError:
        pass
    cancelled = ended(client.batches.cancel(unwanted.id))
    assert cancelled.status == "cancelled", cancelled
    assert cancelled.created_at <= cancelled.cancelling_at <= cancelled.cancelled_at, cancelled
    left = [json.loads(text) for text in client.files.content(cancelled.error_file_id).text.splitlines()]
    assert left[-1]["custom_id"] == "long299" and left[-1]["error"]["code"] == "batch_cancelled", left[-1]

    def late(window):
        content = "\n".join(line(f"late{i}", long) for i in range(300)).encode()
        file = client.files.create(file=("late.jsonl", content), purpose="batch")
        return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window=window)

    expired = ended(late("1s"))
    assert expired.status == "expired", expired
    assert expired.created_at + 1 == expired.expires_at <= expired.expired_at, expired
    left = [json.loads(text) for text in client.files.content(expired.error_file_id).text.splitlines()]
    assert left[-1]["custom_id"] == "late299" and left[-1]["error"]["code"] == "batch_expired", left[-1]

    # In pages of two, which the client asks for one after the other.
    listed = [one.id for one in client.batches.list(limit=2)]
    assert listed[:4] == [expired.id, unwanted.id, twice.id, batch.id], listed
    assert file.id in [one.id for one in client.files.list()]
    assert client.files.delete(file.id).deleted
    try:
        client.files.retrieve(file.id)
        raise AssertionError("a deleted file was found")
    except openai.NotFoundError:
        pass


def main(socket: str) -> None:
    client = connect(socket)
    model = models(client)
    for test in (completions, chat, errors, batches):
        test(client, model)
        print(f"{test.__name__}: ok")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
