from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from collab_server.api.errors import install_error_handlers
from collab_server.api.pages import install_pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "playground"
    built.mkdir()
    (built / "index.html").write_text("<h1>a trip</h1>")
    (built / "app.js").write_text("go()")
    (tmp_path / "secret.txt").write_text("not for you")
    return built


def client_for(folder: Path, *, playground: bool = True) -> httpx.AsyncClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    install_error_handlers(app)
    install_pages(app, playground=playground, folder=folder)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


async def test_a_browser_at_the_root_is_led_to_the_playground(folder: Path) -> None:
    async with client_for(folder) as client:
        answer = await client.get("/", headers={"accept": "text/html,*/*"}, follow_redirects=True)
        assert "a trip" in answer.text
        assert answer.url.path == "/playground/"


async def test_a_program_at_the_root_is_told_what_this_is(folder: Path) -> None:
    async with client_for(folder) as client:
        assert (await client.get("/")).json()["name"] == "collab-server"


async def test_the_page_is_found_without_its_slash_and_keeps_its_query(folder: Path) -> None:
    async with client_for(folder) as client:
        answer = await client.get("/playground?room=x", follow_redirects=True)
        assert (answer.status_code, str(answer.url)) == (200, "http://test/playground/?room=x")


async def test_files_are_checked_again_each_time(folder: Path) -> None:
    async with client_for(folder) as client:
        answer = await client.get("/playground/app.js")
        assert (answer.text, answer.headers["cache-control"]) == ("go()", "no-cache")


@pytest.mark.parametrize("path", ["/playground/%2e%2e/secret.txt", "/playground/..%2fsecret.txt"])
async def test_nothing_outside_the_folder_is_served(folder: Path, path: str) -> None:
    async with client_for(folder) as client:
        answer = await client.get(httpx.URL("http://test", raw_path=path.encode()))
        assert answer.status_code == 404


async def test_without_the_playground_there_is_none(folder: Path) -> None:
    async with client_for(folder, playground=False) as client:
        assert (await client.get("/playground")).status_code == 404
        front = await client.get("/", headers={"accept": "text/html"})
        assert front.json()["name"] == "collab-server"
