"""The Python client against a server: what it returns is what the server made, and asks for the same again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as Picture

from longjump_client import Busy, Client, Image, ServerError

from .conftest import Server, Start


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.client.base_url)) as client:
        yield client


def picture(image: Image) -> Picture.Image:
    return Picture.open(io.BytesIO(image.data))


def test_image_can_be_asked_for_again(client: Client, tmp_path: Path) -> None:
    image = client.generate(steps=2)
    again = client.generate(**image.recipe())
    assert (again.data, again.recipe()) == (image.data, image.recipe())
    assert (image.media_type, image.model, image.steps) == ("image/png", "tiny", 2)
    assert image.label_name in ("cat", "dog", "owl")
    assert {"queue", "network", "decode", "encode", "total"} <= image.seconds.keys()
    image.save(tmp_path / "a.png")
    assert Picture.open(tmp_path / "a.png").size == (8, 8)


def test_many_images_are_those_of_their_seeds(client: Client) -> None:
    many = client.generate_many(3, seed=20, label="dog", format="webp")
    assert [image.seed for image in many] == [20, 21, 22]
    for image in many:
        assert client.generate(format="webp", **image.recipe()).data == image.data
    assert picture(client.generate(4, seed=20)).size == (16, 16)


def test_stream_ends_with_the_image(client: Client) -> None:
    first, last = client.stream(seed=3, steps=4)
    assert (first.steps, first.last, last.steps, last.last) == (1, False, 4, True)
    for image in (first, last):
        assert client.generate(**image.recipe()).data == image.data


def test_every_step_is_shown(client: Client) -> None:
    shown = list(client.stream(every_step=True, seed=3, steps=4, label="cat"))
    assert [image.steps for image in shown] == [1, 2, 3, 4]
    assert [image.last for image in shown] == [False, False, False, True]
    assert shown[-1].data == client.generate(seed=3, steps=4, label="cat").data


def test_variations_start_from_the_image(client: Client) -> None:
    image = client.generate(seed=3, label="cat")
    near = client.variations(image, 0.5, seed=9, label="cat")
    assert picture(near).size == (8, 8)
    assert near.data == client.variations(image.data, 0.5, seed=9, label="cat").data
    other = client.generate(seed=4, label="cat")
    assert near.data != client.variations(other, 0.5, seed=9, label="cat").data


def test_interpolation_ends_where_it_should(client: Client) -> None:
    ends = [client.generate(seed=seed, label="cat") for seed in (1, 2)]
    grid = picture(client.interpolate(1, 2, 4, label="cat")).convert("RGB")
    assert grid.size == (16, 16)
    corners = [grid.crop((0, 0, 8, 8)), grid.crop((8, 8, 16, 16))]
    assert [corner.tobytes() for corner in corners] == [picture(end).convert("RGB").tobytes() for end in ends]
    moving = picture(client.interpolate(1, 2, 5, label="cat", animate=True, frame_ms=50))
    assert (getattr(moving, "n_frames", 1), moving.size) == (5, (8, 8))


def test_server_is_described(client: Client) -> None:
    (model,) = client.models()
    assert (model["id"], model["labels"]) == ("tiny", ["cat", "dog", "owl"])
    assert client.ready()
    assert client.capacity()


def test_wrong_field_is_named(client: Client) -> None:
    with pytest.raises(ServerError, match="did you mean dog") as raised:
        client.generate(label="dgo")
    assert raised.value.status == 422
    assert [error["field"] for error in raised.value.errors] == ["label"]
    with pytest.raises(ServerError, match="steps=3"):
        next(client.stream(steps=3))


def test_server_that_starts_is_not_ready(start: Start, images: Path) -> None:
    server = start(images, ready=False, held=True, TEST_SLOW_START="1")
    server.wait_until_listening()
    with Client(str(server.client.base_url), retries=0) as client:
        assert not client.ready()
        with pytest.raises(Busy, match="starting"):
            client.generate()
        server.open_gate()
        server.wait_until_ready()
        assert client.ready()
