"""Yjs itself reads what the bytes have been through: nothing of the content may be different."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from collab_server.ydoc.compaction import compact
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.update import collect, since, splice, squash
from tests.support.node import run_node
from tests.support.ydocs import recorded, typed

pytestmark = pytest.mark.node

_SCRIPT = Path(__file__).parent / "documents.mjs"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _documents(seed: int, count: int, steps: int) -> list[list[bytes]]:
    made = run_node(_SCRIPT, "generate", str(seed), str(count), str(steps), timeout_s=100).stdout
    return [[base64.b64decode(update) for update in document["updates"]] for document in json.loads(made)]


def _log(updates: list[bytes], dice: random.Random | None = None) -> tuple[DocumentLog, list[bytes]]:
    """A log with these updates in it, and what it passed on."""
    log = DocumentLog()
    passed = []
    for update in updates:
        novelty = log.add(inspect(update))
        if novelty.update is not None:
            passed.append(novelty.update)
        if dice is not None and dice.random() < 0.1:
            log.fold()
    assert log.pending_bytes == 0
    return log, passed


def _forms(updates: list[bytes], dice: random.Random) -> dict[str, list[bytes]]:
    """Everything that becomes of a document's updates on their way, each as updates for a client."""
    shuffled = dice.sample(updates, len(updates))
    groups = [splice(shuffled[at : at + 3]) for at in range(0, len(shuffled), 3)]
    log, passed = _log(groups, dice)
    forms = {
        "spliced": [splice(updates)],
        "spliced in disorder": [splice(groups)],
        "squashed": [squash(splice(groups))],
        "collected": [collect(splice(groups))],
        "passed on": passed,
        "log": [log.encode()],
    }
    log.fold()
    forms["folded"] = [log.encode()]
    behind, _ = _log(updates[: len(updates) // 2])
    forms["difference"] = [behind.encode(), log.since(behind.state_vector)]
    forms["difference of an update"] = [behind.encode(), since(log.encode(), behind.state_vector)]
    half = compact(None, updates[: len(updates) // 2])
    rest = updates[len(updates) // 2 :]
    forms["compacted twice"] = [compact(half.data, rest).data]
    forms["opened"] = [DocumentLog.open(half.data, half.index, rest).encode()]
    forms["opened without index"] = [DocumentLog.open(half.data, b"", rest).encode()]
    log.adopt(half.data, half.index)
    forms["adopted"] = [log.encode()]
    forms["squashed in parts"] = [squash(group) for group in groups]
    forms["squashed, then collected"] = [collect(squash(splice(updates)))]
    forms["collected and original"] = [forms["collected"][0], *updates]
    return forms


@pytest.mark.parametrize(("seed", "count", "steps"), [(1, 25, 60), (1000, 10, 250)])
def test_random_documents_read_the_same_in_yjs_and_compact_to_its_size(
    seed: int, count: int, steps: int
) -> None:
    jobs: list[dict[str, Any]] = []
    names: list[list[str]] = []
    sizes: list[int] = []
    for number, updates in enumerate(_documents(seed, count, steps)):
        forms = _forms(updates, random.Random(seed + number))
        names.append(list(forms))
        sizes.append(len(forms["collected"][0]))
        candidates = [[_text(update) for update in form] for form in forms.values()]
        jobs.append({"reference": [_text(update) for update in updates], "candidates": candidates})
    answers = json.loads(run_node(_SCRIPT, "compare", timeout_s=100, input=json.dumps(jobs).encode()).stdout)
    for number, (document, answer) in enumerate(zip(names, answers, strict=True)):
        for name, problem in zip(document, answer["candidates"], strict=True):
            assert problem is None, f"document {seed + number}, {name}: {problem}"
        assert sizes[number] <= answer["size"] * 1.3, f"document {seed + number}"


@pytest.mark.parametrize("name", ["clownschool", "friendsforever"])
def test_a_recorded_session_compacts_to_less_than_yjs_itself(name: str) -> None:
    session = recorded(name) or typed(5, 8000)
    log, _ = _log(session)
    folded, _ = _log(session)
    folded.fold()
    forms = [
        session,
        [log.encode()],
        [folded.encode()],
        [compact(None, session).data],
        [squash(splice(session))],
    ]
    job = json.dumps([[_text(update) for update in form] for form in forms]).encode()
    answers = json.loads(run_node(_SCRIPT, "measure", timeout_s=110, input=job).stdout)
    for answer in answers:
        assert answer["texts"] == answers[0]["texts"]
    assert answers[0]["texts"][0][1]
    assert len(forms[3][0]) <= answers[0]["size"]
    assert len(forms[2][0]) <= answers[0]["size"]
