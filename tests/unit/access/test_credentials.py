"""``access/credentials``: where a request carries its token."""

from __future__ import annotations

import pytest

from collab_server.access.credentials import bearer, subprotocol_for

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln"


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ({}, "", None),
        ({"authorization": "Bearer abc"}, "", "abc"),
        ({"authorization": "bearer   abc "}, "", "abc"),
        ({"authorization": "Basic YTpi"}, "", None),
        ({"authorization": "Basic YTpi"}, "token=abc", "abc"),
        ({"authorization": "Bearer "}, "auth=abc", "abc"),
        ({"authorization": "Bearer header"}, "auth=query", "header"),
        ({}, "auth=abc", "abc"),
        ({}, "token=abc", "abc"),
        ({}, "token=second&auth=first", "first"),
        ({}, "auth=first&auth=second", "first"),
        ({}, "auth=&token=abc", "abc"),
        ({}, "author=x&tokens=y&AUTH=z", None),
        ({}, "echo=true&token=a%2Bb%3D", "a+b="),
        ({}, "token=a+b=", "a+b="),
        ({"sec-websocket-protocol": f"bearer, {JWT}"}, "", JWT),
        ({"sec-websocket-protocol": f"yjs, access_token, {JWT}"}, "", JWT),
        ({"sec-websocket-protocol": "Bearer,opaque"}, "", "opaque"),
        ({"sec-websocket-protocol": f"anything, {JWT}"}, "", JWT),
        ({"sec-websocket-protocol": "bearer"}, "", None),
        ({"sec-websocket-protocol": "yjs, other"}, "", None),
        ({"sec-websocket-protocol": f"bearer, {JWT}"}, "auth=query", "query"),
    ],
)
def test_a_token_is_found_where_a_client_can_put_it(
    headers: dict[str, str], query: str, token: str | None
) -> None:
    assert bearer(headers, query) == token


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("yjs",), "yjs"),
        (("bearer", JWT), "bearer"),
        ((JWT, "yjs"), "yjs"),
        (("yjs", "token", "opaque"), "yjs"),
        ((JWT,), None),
    ],
)
def test_a_subprotocol_is_chosen_and_the_token_is_never_sent_back(
    offered: tuple[str, ...], chosen: str | None
) -> None:
    assert subprotocol_for(offered) == chosen
