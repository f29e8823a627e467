"""OpenAI's own Python client against /v1/images/generations and /v1/models: it finds what it expects."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import httpx2
import numpy as np
import openai
import pytest
from openai import OpenAI
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse, Model
from PIL import Image

from server.http import problem
from server.http.auth import line_of, make_key
from server.http.dialects import openai_document
from server.http.openai import chosen_parts
from server.http.stream import event

from .conftest import Server, Start, eventually


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.client.base_url}/v1", api_key="any", max_retries=0) as client:
        yield client


def pixels(b64: str | None) -> np.ndarray:
    assert b64 is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64))))


def refusal(client: OpenAI, kind: type[openai.APIStatusError], **fields: object) -> openai.APIStatusError:
    """The error of a request, which must have OpenAI's members."""
    with pytest.raises(kind) as raised:
        client.images.generate(**{"prompt": "cat", **fields})  # type: ignore[call-overload]
    error = raised.value
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    return error


def test_answer_is_complete(client: OpenAI, server: Server) -> None:
    answer = client.images.generate(prompt="owl", n=2, extra_body={"seed": 7, "steps": 2})
    ImagesResponse.model_validate(answer.model_dump())  # the client itself does not check
    assert answer.data is not None
    assert answer.usage is not None
    assert (answer.size, answer.output_format, answer.background, len(answer.data)) == ("8x8", "png", "opaque", 2)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (0, 4, 4)
    assert answer.created > 1_600_000_000
    for i, image in enumerate(answer.data):
        plain = server.client.post(f"/generate?seed={7 + i}&steps=2&label=owl").content
        assert base64.b64decode(image.b64_json or "") == plain
        assert (image.seed, image.label, image.label_name) == (7 + i, 2, "owl")  # type: ignore[attr-defined]
    assert answer.steps == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("prompt", "label"), [("dog", 1), (" DOG ", 1), ("1", 1), ("none", "none"), ("None", "none")])
def test_prompt_is_a_class(client: OpenAI, prompt: str, label: object) -> None:
    answer = client.images.generate(prompt=prompt)
    assert answer.data is not None
    assert answer.data[0].label == label  # type: ignore[attr-defined]


def test_prompt_that_is_no_class_lists_the_classes(client: OpenAI) -> None:
    error = refusal(client, openai.BadRequestError, prompt="a cute baby sea otter")
    assert (error.param, error.type, error.code) == ("prompt", "invalid_request_error", "invalid_request")
    assert "cat, dog, owl" in error.message


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_output_format(client: OpenAI, format: str, kind: str) -> None:
    answer = client.images.generate(prompt="cat", output_format=format, size="8x8")  # type: ignore[call-overload]
    assert answer.output_format == format
    assert Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).format == kind


def test_output_compression_is_the_quality(client: OpenAI) -> None:
    def size(compression: int) -> int:
        answer = client.images.generate(
            prompt="cat", output_format="jpeg", output_compression=compression, extra_body={"seed": 1}
        )
        assert answer.data is not None
        return len(base64.b64decode(answer.data[0].b64_json or ""))

    assert size(0) < size(100)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "auto", "n": None, "output_format": None},
        {"background": "opaque", "moderation": "low", "quality": "hd", "style": "vivid", "user": "me"},
        {"output_format": "png", "output_compression": 100, "response_format": "b64_json"},
        {"complexity": "high", "safety_identifier": "abc", "quality": "xhigh", "stream": False},
    ],
)
def test_what_is_harmless_is_taken(client: OpenAI, fields: dict[str, object]) -> None:
    assert client.images.generate(prompt="cat", **fields).data  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"size": "1024x1024"}, "size", "8x8"),
        ({"response_format": "url"}, "response_format", "b64_json"),
        ({"background": "transparent"}, "background", "opaque"),
        ({"output_format": "gif"}, "output_format", "png, jpeg or webp"),
        ({"output_format": "svg"}, "output_format", "png, jpeg or webp"),
        ({"frame_count": 4}, "frame_count", "not supported"),
        ({"n": 0}, "n", "from 1 to 64"),
        ({"n": 65}, "n", "from 1 to 64"),
        ({"n": 2, "stream": True}, "n", "one image"),
        ({"output_compression": 101}, "output_compression", "from 0 to 100"),
        ({"output_compression": 50}, "output_compression", "jpeg and webp"),
        ({"partial_images": 2}, "partial_images", "stream=true"),
        ({"partial_images": 4, "stream": True}, "partial_images", "from 0 to 3"),
        ({"extra_body": {"steps": 3}}, "steps", "1, 2, 4"),
        ({"extra_body": {"guidance": 2}}, "guidance", "no guidance"),
        ({"extra_body": {"seed": "7"}}, "seed", "whole number"),
        ({"extra_body": {"prompt": ["cat"]}}, "prompt", "text"),
        ({"extra_body": {"prompt": None}}, "prompt", "missing"),
        ({"extra_body": {"colour": "red"}}, "colour", "not supported"),
    ],
)
def test_what_cannot_be_meant_is_refused(client: OpenAI, fields: dict[str, object], param: str, says: str) -> None:
    error = refusal(client, openai.BadRequestError, **fields)
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert says in error.message


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    error = refusal(client, openai.NotFoundError, model="gpt-image-1")
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "tiny" in error.message
    with pytest.raises(openai.NotFoundError, match="tiny"):
        client.models.retrieve("gpt-image-1")


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    (listed,) = client.models.list().data
    Model.model_validate(listed.model_dump())
    assert listed.id == "tiny"
    assert listed.created > 1_600_000_000
    assert client.models.retrieve("tiny") == listed


def test_stream_shows_partial_images(client: OpenAI, server: Server) -> None:
    fields = {"seed": 5, "steps": 4}
    events = list(client.images.generate(prompt="cat", stream=True, partial_images=2, extra_body=fields))
    *partial, last = events
    for one in partial:
        ImageGenPartialImageEvent.model_validate(one.model_dump())
    ImageGenCompletedEvent.model_validate(last.model_dump())
    assert [one.type for one in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [one.partial_image_index for one in partial] == [0, 1]  # type: ignore[union-attr]
    assert pixels(partial[0].b64_json).shape == (8, 8, 3)
    plain = server.client.post("/generate?seed=5&steps=4&label=cat").content
    assert base64.b64decode(last.b64_json) == plain
    assert last.usage.total_tokens == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(("steps", "partial"), [(4, 0), (1, 3), (2, 3)])
def test_stream_ends_with_the_whole_image(client: OpenAI, steps: int, partial: int) -> None:
    """As many partial images as there are steps on the way, at most."""
    fields = {"steps": steps}
    events = list(client.images.generate(prompt="cat", stream=True, partial_images=partial, extra_body=fields))
    assert len(events) == 1 + min(partial, steps - 1)
    assert events[-1].type == "image_generation.completed"
    assert pixels(events[-1].b64_json).shape == (8, 8, 3)


def test_stream_that_fails_midway_raises() -> None:
    said = event("error", openai_document(problem.expired("too late")))
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b": still working\n\n" + said)
    transport = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    with (
        OpenAI(base_url="http://server/v1", api_key="any", http_client=transport) as client,
        pytest.raises(openai.APIError, match="too late") as raised,
    ):
        list(client.images.generate(prompt="cat", stream=True))
    assert raised.value.code == "deadline_passed"


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 128])
def test_partial_images_are_of_different_steps(steps: int) -> None:
    for partial in range(4):
        parts = chosen_parts(steps, partial)
        assert len(parts) == len(set(parts)) == min(partial, steps - 1)
        assert all(1 <= step < steps for step in parts)
        assert not parts or parts[0] == 1


def test_errors_before_the_route_have_the_shape_too(server: Server) -> None:
    def error(answer: httpx.Response) -> dict[str, object]:
        assert answer.headers["content-type"] == "application/json"
        (member,) = answer.json().items()
        assert member[0] == "error"
        assert set(member[1]) == {"message", "type", "param", "code"}
        return member[1]  # type: ignore[no-any-return]

    ask = server.client
    path = "/v1/images/generations"
    assert ask.get(path).status_code == 405
    error(ask.get(path))
    assert error(ask.post("/v1/images/edits"))["code"] == "not_found"
    assert error(ask.post(path, content="{", headers={"content-type": "application/json"}))["param"] is None
    assert error(ask.post(path, content="x" * 100_000))["code"] == "body_too_large"
    assert error(ask.post(path, content="x"))["code"] == "unsupported_media_type"
    assert error(ask.post(path))["param"] == "prompt"


def test_points_are_no_images(start_shared: Start, points: Path) -> None:
    server = start_shared(points)
    answer = server.client.post("/v1/images/generations", json={"prompt": "none"})
    assert answer.status_code == 400
    assert "points" in answer.json()["error"]["message"]


def test_busy_server_and_missed_deadline_are_told_apart(start: Start, images: Path) -> None:
    server = start(images, "--max-rows", "1", "--max-waiting", "5", held=True)
    with OpenAI(base_url=f"{server.client.base_url}/v1", api_key="any", max_retries=0) as client:
        accepted = []

        def accept_until(count: int) -> None:
            while len(accepted) < count:
                accepted.append(server.send(f"/generate?seed={len(accepted)}&deadline_ms=60000"))
            eventually(lambda: server.accepted() == count, f"{count} accepted")

        accept_until(4)  # more than the worker takes at once, so that the next one waits in the queue
        late = refusal(client, openai.InternalServerError, extra_body={"deadline_ms": 50})
        assert (late.status_code, late.code, late.type) == (504, "deadline_passed", "server_error")
        accept_until(5)
        busy = refusal(client, openai.RateLimitError)
        assert (busy.code, busy.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert int(busy.response.headers["retry-after"]) >= 1
        server.open_gate()
        assert [one.result(60).status_code for one in accepted] == [200] * 5


def test_key_is_asked_for_in_the_same_shape(start: Start, images: Path, tmp_path: Path) -> None:
    text, key = make_key("alice", admin=False)
    (tmp_path / "keys").write_text(line_of(key) + "\n")
    server = start(images, "--api-keys", str(tmp_path / "keys"))
    base = f"{server.client.base_url}/v1"
    with OpenAI(base_url=base, api_key="wrong", max_retries=0) as client:
        error = refusal(client, openai.AuthenticationError)
        assert (error.code, error.type) == ("invalid_api_key", "invalid_request_error")
    with OpenAI(base_url=base, api_key=text, max_retries=0) as client:
        assert client.images.generate(prompt="cat").data
