"""Authentication: one exchange at a time, no storms, and refusals that say why."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from helpers import eventually
from pair import CrossedCarrier, make_pair

from owlsocket_sync import (
    AuthenticationStage,
    AuthError,
    AuthForbidden,
    Connection,
    ResilientError,
    SocketConnectionError,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
)

Ends = tuple[Connection, Connection, CrossedCarrier, CrossedCarrier]
INIT, ALLOWENCE, AUTHENTICATE, AUTHENTICATED = (
    AuthenticationStage.INIT,
    AuthenticationStage.ALLOWENCE,
    AuthenticationStage.AUTHENTICATE,
    AuthenticationStage.AUTHENTICATED,
)


@pytest.fixture
def ends() -> Ends:
    """Two ends, whose right one walks through the stages."""
    left, right, *carriers = make_pair()

    def authenticate(stage: Any, payload: Any) -> tuple[Any, Any]:
        if stage is INIT:
            return ALLOWENCE, {"challenge": "c", "got": payload}
        if payload == {"credential": "good"}:
            return AUTHENTICATED, {"token": "t"}
        raise AuthForbidden("wrong credential")

    right.authenticate = authenticate
    return left, right, *carriers  # type: ignore[return-value]


def sent(carrier: CrossedCarrier) -> list[Any]:
    """What an end sent."""
    return [json.loads(frame) for frame in carrier.sent]


def test_the_stages_are_walked_through(ends: Ends) -> None:
    """Each answer's stage becomes that of both ends."""
    left, right, carrier, _ = ends
    assert [end.stage for end in (left, right)] == [None, None]
    assert left.auth(INIT, {"clientId": "app"}) == {"challenge": "c", "got": {"clientId": "app"}}
    assert [end.stage for end in (left, right)] == [ALLOWENCE, ALLOWENCE]
    assert left.auth("authenticate", {"credential": "good"}) == {"token": "t"}
    assert left.stage is right.stage is AUTHENTICATED
    assert sent(carrier)[0] == {"type": "auth", "stage": "init", "payload": {"clientId": "app"}}


def test_a_refusal_travels_as_a_marshalled_error(ends: Ends) -> None:
    """And is raised as what it is."""
    left, right, _, carrier = ends
    wrong: list[Any] = []
    right.on_error(lambda error, context: wrong.append((type(error), str(context))))
    with pytest.raises(AuthForbidden, match="wrong credential"):
        left.auth(AUTHENTICATE, {"credential": "bad"})
    assert sent(carrier) == [
        {
            "type": "auth",
            "stage": None,
            "payload": "ForbiddenAuthorizationError|||auth:authorization:forbidden:wrong credential",
        }
    ]
    assert left.stage is AUTHENTICATE
    assert right.stage is None
    assert wrong == [(AuthForbidden, "authenticate authenticate")]


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        ({}, AuthError, "without a reason"),
        (None, AuthError, "without a reason"),
        ({"message": "x"}, AuthError, "refused: x"),
        ("AuthError|||auth:x|||s", AuthError, "auth:x"),
        ("plain words", ResilientError, "plain words"),
    ],
)
def test_a_refusal_is_read_in_every_shape(payload: Any, kind: type[ResilientError], words: str) -> None:
    """As the reference sends it, and as we do."""
    left, _, carrier, _ = make_pair()
    carrier.peer.receive = lambda text: left.receive(  # type: ignore[method-assign, assignment, misc]
        json.dumps({"type": "auth", "stage": None, "payload": payload})
    )
    with pytest.raises(kind, match=words):
        left.auth(INIT, {})


def test_without_a_hook_a_step_is_refused() -> None:
    """So that the peer need not wait for its timeout."""
    left, right, *_ = make_pair()
    right.on_error(lambda error, context: None)
    with pytest.raises(SocketUnsupported, match="no authenticate hook"):
        left.auth(INIT)
    assert right.stage is None


def test_a_hook_may_leave_a_step_unanswered() -> None:
    """By the stage None."""
    left, right, _, carrier = make_pair()
    right.authenticate = lambda stage, payload: (None, "ignored")
    with pytest.raises(SocketTimeout, match=r"auth 'init' was not answered within 0\.02 s"):
        left.auth(INIT, timeout=0.02)
    assert carrier.sent == []


def test_a_late_answer_is_not_taken_for_a_question() -> None:
    """It is counted and passed over, once; a question after it is answered."""
    left, right, carrier, _ = make_pair()
    asked: list[Any] = []
    left.on_error(lambda error, context: None)
    left.authenticate = lambda stage, payload: (asked.append(stage), ("authenticated", 1))[1]
    carrier.silent = True
    with pytest.raises(SocketTimeout):
        left.auth(INIT, timeout=0.01)
    late = '{"type":"auth","stage":"authenticated","payload":{}}'
    left.receive(late)
    assert (asked, left.stats.unmatched) == ([], 1)
    left.receive(late)
    assert asked == [AUTHENTICATED]


@pytest.mark.parametrize("frame", ['{"type":"auth","stage":null,"payload":{}}', '{"type":"auth","payload":{"a":1}}'])
def test_a_refusal_is_never_answered(ends: Ends, frame: str) -> None:
    """It would be refused again, and so on for ever."""
    _, right, _, carrier = ends
    right.on_error(lambda error, context: None)
    right.receive(frame)
    assert carrier.sent == []
    assert right.stats.unmatched == 1


@pytest.mark.parametrize("starts", ["left", "right"])
def test_two_ends_do_not_storm(starts: str) -> None:
    """Whichever begins, and whatever the hooks say: one question, one answer."""
    left, right, *carriers = make_pair()
    for end in (left, right):
        end.authenticate = lambda stage, payload: (AUTHENTICATED, payload)
        end.on_error(lambda error, context: None)
    {"left": left, "right": right}[starts].auth(INIT, 1)
    assert sum(len(carrier.sent) for carrier in carriers) == 2


def test_a_peer_that_answers_every_answer_is_not_fed() -> None:
    """A naive one sends, and sends, and gets nothing."""
    left, right, carrier, _ = make_pair()
    left.on_error(lambda error, context: None)
    answered = 0

    def naive(text: str) -> None:
        nonlocal answered
        if answered < 50:
            answered += 1
            left.receive('{"type":"auth","stage":null,"payload":{}}')

    carrier.peer.receive = naive  # type: ignore[method-assign, assignment]
    with pytest.raises(AuthError):
        left.auth(INIT, {})
    for _ in range(100):
        left.receive('{"type":"auth","stage":null,"payload":{}}')
    assert len(carrier.sent) == answered == 1


def test_exchanges_queue(ends: Ends) -> None:
    """A second one has its turn after the first, or times out waiting for it."""
    left, right, carrier, _ = ends
    carrier.silent = True
    outcomes: list[Any] = []
    first = threading.Thread(target=lambda: outcomes.append(left.auth(INIT, "first", timeout=5)))
    first.start()
    eventually(lambda: carrier.sent)
    with pytest.raises(SocketTimeout, match="another exchange took all of"):
        left.auth(INIT, "second", timeout=0.02)
    assert len(carrier.sent) == 1
    right.receive(carrier.sent[0])
    first.join(5)
    assert outcomes == [{"challenge": "c", "got": "first"}]
    carrier.silent = False
    assert left.auth(INIT, "third")["got"] == "third"


def test_a_lost_link_forgets_who_we_were(ends: Ends) -> None:
    """The exchange fails, and the stage begins anew."""
    left, right, carrier, _ = ends
    left.auth(INIT)
    carrier.silent = True
    outcomes: list[Any] = []

    def authenticate() -> None:
        try:
            left.auth(AUTHENTICATE)
        except SocketConnectionError as error:
            outcomes.append(error)

    waiter = threading.Thread(target=authenticate)
    waiter.start()
    eventually(lambda: len(carrier.sent) == 2)
    carrier.lose()
    waiter.join(5)
    assert len(outcomes) == 1
    assert left.stage is None


def test_a_stage_that_nobody_knows_is_text(ends: Ends) -> None:
    """It is passed through both ways."""
    left, right, *_ = ends
    right.authenticate = lambda stage, payload: (f"{stage}-too", payload)
    assert left.auth("unheard-of", 1) == 1
    assert left.stage == right.stage == "unheard-of-too"


@pytest.mark.parametrize("stage", [None, "", 5, True])
def test_a_step_needs_a_stage(ends: Ends, stage: Any) -> None:
    """Without one it would be a refusal of nothing."""
    left, _, carrier, _ = ends
    with pytest.raises(TypeError, match="stage must be an AuthenticationStage or its spelling"):
        left.auth(stage)
    assert carrier.sent == []


@pytest.mark.parametrize("answer", [None, 5, (1, 2, 3), (AUTHENTICATED, 1j)], ids=repr)
def test_a_hook_that_answers_nonsense_refuses(answer: Any) -> None:
    """So that nobody waits; the stage is not taken."""
    left, right, *_ = make_pair()
    right.on_error(lambda error, context: None)
    right.authenticate = lambda stage, payload: answer
    with pytest.raises(ResilientError):
        left.auth(INIT, timeout=5)
    assert right.stage is None


def test_an_answer_may_be_sent_while_the_question_is_under_way(ends: Ends) -> None:
    """A question of the peer's that crosses ours is taken for the answer, and answered by nothing."""
    left, right, carrier, other = ends
    right.authenticate = lambda stage, payload: (None, None)
    carrier.peer.receive = lambda text: left.receive(  # type: ignore[method-assign, assignment, misc]
        '{"type":"auth","stage":"allowence","payload":"crossing"}'
    )
    assert left.auth(INIT) == "crossing"
    assert len(carrier.sent) == 1
    assert other.sent == []


def test_closing_frees_who_waits_for_an_answer(ends: Ends) -> None:
    """And who waits for a turn."""
    left, _, carrier, _ = ends
    carrier.silent = True
    outcomes: list[type[BaseException]] = []

    def authenticate() -> None:
        try:
            left.auth(INIT, timeout=60)
        except SocketConnectionError as error:
            outcomes.append(type(error))

    waiters = [threading.Thread(target=authenticate) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    eventually(lambda: carrier.sent)
    left.close()
    for waiter in waiters:
        waiter.join(5)
    assert outcomes == [SocketConnectionError] * 2


ALL_STAGES: list[Any] = [None, "error", "init", "allowence", "authenticate", "auhtentication", "authenticated", "odd"]


@pytest.mark.parametrize("reached", ALL_STAGES)
@pytest.mark.parametrize("required", ALL_STAGES[2:-1])
def test_a_handler_may_require_a_stage(reached: Any, required: str) -> None:
    """Those who have come so far are answered; everybody else is told so, and the handler does not run."""
    left, right, *_ = make_pair()
    ran: list[int] = []
    right.on_error(lambda error, context: None)
    right.stage = reached
    right.perform("m", lambda: ran.append(1), stage=AuthenticationStage(required))
    if reached in ALL_STAGES[2:-1] and ALL_STAGES.index(reached) >= ALL_STAGES.index(required):
        left.call("m", timeout=5)
        assert ran == [1]
    else:
        with pytest.raises(SocketUnauthorized, match=f"method 'm' is for those who are '{required}'"):
            left.call("m", timeout=5)
        assert ran == []


def test_a_stage_may_be_required_by_the_decorator_too() -> None:
    """Which leaves the function as it is; what cannot be reached is refused at once."""
    left, right, *_ = make_pair()

    @right.perform("m", stage=AUTHENTICATED)
    def performer(value: int) -> int:
        return value

    assert performer(5) == 5
    right.stage = AUTHENTICATED
    assert left.call("m", 5, timeout=5) == 5
    for wrong in (AuthenticationStage.ERROR, "nowhere"):
        with pytest.raises(ValueError, match="stage must be a stage of authentication"):
            right.perform("m", performer, stage=wrong)  # type: ignore[arg-type]


def test_the_stage_is_taken_before_the_answer_leaves(ends: Ends) -> None:
    """So that a call that comes on the heels of the answer is not refused."""
    left, right, _, carrier = ends
    stages: list[Any] = []
    deliver = carrier.peer.receive
    carrier.peer.receive = lambda text: (stages.append(right.stage), deliver(text))  # type: ignore[method-assign, assignment, misc]
    left.auth(AUTHENTICATE, {"credential": "good"})
    assert stages == [AUTHENTICATED]
