"""Authentication: one exchange at a time, no storms, and refusals that say why."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from owlsocket_sync import (
    AuthenticationStage,
    AuthError,
    AuthForbidden,
    Connection,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
)
from support.helpers import eventually
from support.pair import RecordingCarrier, make_pair

Ends = tuple[Connection, Connection, RecordingCarrier, RecordingCarrier]
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


def sent(carrier: RecordingCarrier) -> list[Any]:
    """What an end sent."""
    return [json.loads(frame) for frame in carrier.sent]


def test_the_stages_are_walked_through(ends: Ends) -> None:
    """Each answer's stage becomes that of both ends."""
    left, right, carrier, _ = ends
    assert [end.stage for end in (left, right)] == [INIT, INIT]
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
    assert left.stage is INIT
    assert right.stage is None
    assert wrong == [(AuthForbidden, "authenticate authenticate")]


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        ({}, AuthError, "without a reason"),
        (None, AuthError, "without a reason"),
        ({"message": "x"}, AuthError, "refused: x"),
        ("AuthError|||auth:x|||s", AuthError, "x"),
        ("plain words", ResilientError, "plain words"),
    ],
)
def test_a_refusal_is_read_in_every_shape(payload: Any, kind: type[ResilientError], words: str) -> None:
    """As the reference sends it, and as we do."""
    left, _, carrier, _ = make_pair()
    carrier.answer_instead(lambda text: left.receive(json.dumps({"type": "auth", "stage": None, "payload": payload})))
    with pytest.raises(kind, match=words):
        left.auth(INIT, {})


def test_without_a_hook_an_accepted_end_refuses_a_step() -> None:
    """So that the peer need not wait for its timeout."""
    left, right, *_ = make_pair(accepted=True)
    right.on_error(lambda error, context: None)
    with pytest.raises(SocketUnsupported, match="no authenticate hook"):
        left.auth(INIT)
    assert right.stage is None


@pytest.mark.parametrize("stage", [*AuthenticationStage, "unheard-of"])
def test_without_a_hook_a_client_answers_nothing(stage: str) -> None:
    """A refusal that nobody asked for ends a reference server's authentication; the step is counted and reported."""
    left, _, carrier, _ = make_pair()
    wrong: list[Any] = []
    left.on_error(lambda error, context: wrong.append((str(error), str(context))))
    left.receive(json.dumps({"type": "auth", "stage": stage, "payload": {}}))
    assert (carrier.sent, left.stats.unmatched, left.stage) == ([], 1, INIT)
    words = "an auth message was not answered: no authenticate hook is set here"
    assert wrong == [(words, f"authenticate {json.loads(json.dumps(stage))}")]


VOLUNTEERED = [
    '{"type":"auth","stage":"init","payload":{}}',
    '{"type":"auth","stage":null,"payload":{}}',
    '{"type":"event","event":"e","payload":1}',
    '{"type":"event","payload":1}',
    '{"type":"request","id":"r","payload":1}',
    '{"type":"request","payload":1}',
    '{"type":"response","id":"r","payload":1}',
    '{"type":"result","id":"c","payload":1}',
    '{"type":"error","id":"c","payload":"x"}',
    '{"type":"error","payload":"x"}',
    '{"type":"message","payload":1}',
    '{"type":"system","event":"hello","payload":{}}',
    '{"type":"pong"}',
    '{"type":"call","method":"m","payload":[]}',
    '{"type":"call","method":"m"}',
    '{"type":"unheard-of","id":"u","payload":1}',
    '{"broken',
    "[]",
    "words",
]


@pytest.mark.parametrize("frame", VOLUNTEERED)
def test_a_client_answers_nothing_of_its_own_to_what_asks_for_no_answer(frame: str) -> None:
    """Only a call with an id, and a ping, are answered where no handler is registered."""
    left, _, carrier, _ = make_pair()
    left.on_error(lambda error, context: None)
    left.receive(frame)
    assert carrier.sent == []


def test_a_hook_may_leave_a_step_unanswered() -> None:
    """By the stage None."""
    left, right, _, carrier = make_pair()
    right.authenticate = lambda stage, payload: (None, "ignored")
    with pytest.raises(SocketTimeout, match=r"auth 'init' was not answered within 0\.02 s"):
        left.auth(INIT, timeout=0.02)
    assert carrier.sent == []


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stale:
    """A client whose step INIT, or another one, timed out, and whose peer asks or answers as the test wants.

    Attributes:
        clock: of the memory of the late answer.
        asked: the stages that its hook was asked for.
    """

    def __init__(self, stage: AuthenticationStage = INIT) -> None:
        self.end, _, self.carrier, _ = make_pair()
        self.clock = self.end._core.authentication._late_answer._clock = Clock()
        self.asked: list[Any] = []
        self.end.on_error(lambda error, context: None)
        self.end.authenticate = lambda stage, payload: (self.asked.append(stage), (AUTHENTICATED, 1))[1]
        self.carrier.silent = True
        with pytest.raises(SocketTimeout, match="was not answered within") as raised:
            self.end.auth(stage, timeout=0.0)
        assert raised.value.sent is True
        self.carrier.sent.clear()

    def receive(self, stage: str | None) -> None:
        """Receive an auth message of the peer."""
        self.end.receive(json.dumps({"type": "auth", "stage": stage, "payload": "of the peer"}))

    def sent(self) -> list[Any]:
        """Return the stages that the end sent since its step timed out."""
        return [message["stage"] for message in sent(self.carrier)]


@pytest.mark.parametrize("stage", ["authenticated", "init", "unheard-of", None])
def test_a_late_answer_is_not_taken_for_a_question(stage: str | None) -> None:
    """It is counted and passed over, once; a question after it is answered."""
    client = Stale()
    client.receive(stage)
    assert (client.asked, client.end.stats.unmatched) == ([], 1)
    client.receive("authenticated")
    assert (client.asked, client.sent()) == ([AUTHENTICATED], ["authenticated"])


@pytest.mark.parametrize(("seconds", "answered"), [(0.0, False), (1.99, False), (2.0, True), (3600.0, True)])
def test_a_late_answer_is_expected_for_two_seconds(seconds: float, answered: bool) -> None:
    """After that the message is a question of the peer, which waits for its answer."""
    client = Stale()
    client.clock.now += seconds
    client.receive("authenticate")
    assert client.asked == ([AUTHENTICATE] if answered else [])


@pytest.mark.parametrize("asked", [ALLOWENCE, AUTHENTICATE, AUTHENTICATED])
def test_a_message_that_cannot_be_the_late_answer_is_a_question(asked: AuthenticationStage) -> None:
    """No answer leads back to before its question; the peer, which asks by now, will not answer any more."""
    client = Stale(asked)
    client.receive("init")
    client.receive("authenticated")
    assert client.asked == [INIT, AUTHENTICATED]


def test_the_next_exchange_waits_for_the_late_answer() -> None:
    """Its own answer is the message after that: none is ambiguous."""
    client = Stale()
    outcomes: list[Any] = []
    waiter = threading.Thread(target=lambda: outcomes.append(client.end.auth(AUTHENTICATE, timeout=30)))
    with client.end._core.authentication._exchange_lock:
        waiter.start()
    eventually(lambda: client.end._core.waits.is_awaiting())
    assert client.sent() == []
    client.receive("allowence")
    eventually(lambda: client.sent() == ["authenticate"])
    client.receive("authenticated")
    waiter.join(5)
    assert (outcomes, client.end.stage) == (["of the peer"], AUTHENTICATED)


def test_the_next_exchange_waits_within_its_own_deadline() -> None:
    """And says for what; nothing of it was sent."""
    client = Stale()
    client.clock.now += 1.99
    with pytest.raises(SocketTimeout, match=r"after 0\.01 s waiting for the late answer to an earlier one") as raised:
        client.end.auth(AUTHENTICATE, timeout=0.01)
    assert (client.sent(), raised.value.sent) == ([], False)
    client.clock.now += 0.01
    client.carrier.answer_instead(lambda text: client.receive("authenticated"))
    assert client.end.auth(AUTHENTICATE, timeout=5) == "of the peer"


@pytest.mark.parametrize("moment", ["before", "while it waits"])
def test_a_lost_link_ends_the_wait_for_a_late_answer(moment: str) -> None:
    """No answer of that link can come on the next one."""
    client = Stale()
    client.carrier.answer_instead(lambda text: client.receive("authenticated"))
    outcomes: list[Any] = []
    waiter = threading.Thread(target=lambda: outcomes.append(client.end.auth(AUTHENTICATE, timeout=30)))
    if moment == "before":
        client.carrier.lose()
        client.carrier.restore()
        waiter.start()
    else:
        waiter.start()
        eventually(lambda: client.end._core.waits.is_awaiting())
        with client.end._core.authentication._exchange_lock:  # it sees the next link
            client.carrier.lose()
            client.carrier.restore()
    waiter.join(5)
    assert outcomes == ["of the peer"]


def test_an_exchange_that_was_interrupted_may_be_answered_late() -> None:
    """Whatever ended the wait: what comes then is not a question."""
    left, _, carrier, _ = make_pair()
    left.on_error(lambda error, context: None)
    asked: list[Any] = []
    left.authenticate = lambda stage, payload: (asked.append(stage), (AUTHENTICATED, 1))[1]

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    carrier.answer_instead(interrupt)
    with pytest.raises(KeyboardInterrupt):
        left.auth(INIT, timeout=5)
    left.receive('{"type":"auth","stage":"allowence","payload":{}}')
    assert asked == []


def test_an_exchange_that_was_not_sent_is_not_answered_late() -> None:
    """The next message is a question."""
    left, _, carrier, _ = make_pair()
    asked: list[Any] = []
    left.authenticate = lambda stage, payload: (asked.append(stage), (AUTHENTICATED, 1))[1]
    with pytest.raises(SocketMessageMalformed):
        left.auth(INIT, object())
    left.receive('{"type":"auth","stage":"init","payload":{}}')
    assert asked == [INIT]


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

    carrier.answer_instead(naive)
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
    with pytest.raises(SocketTimeout, match="waiting for another authentication to finish"):
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
    assert left.stage is INIT


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
    carrier.answer_instead(lambda text: left.receive('{"type":"auth","stage":"allowence","payload":"crossing"}'))
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
        with pytest.raises(SocketUnauthorized, match=f"method 'm' requires stage '{required}'"):
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


@pytest.fixture
def accepted() -> Ends:
    """Two ends of servers, of which the left one answers every step with the last stage."""
    left, right, *carriers = make_pair(accepted=True)
    left.authenticate = lambda stage, payload: (AUTHENTICATED, payload)
    right.perform("secret", lambda: "treasure", stage=AUTHENTICATED)
    for end in (left, right):
        end.on_error(lambda error, context: None)
    return left, right, *carriers  # type: ignore[return-value]


def test_a_stage_that_the_peer_names_opens_nothing_on_an_accepted_end(accepted: Ends) -> None:
    """An answer to a step of ours is a claim: what `perform` requires is granted by the guard alone."""
    left, right, *_ = accepted
    assert right.auth(INIT, 1) == 1
    assert right.stage is AUTHENTICATED  # as in the reference
    with pytest.raises(SocketUnauthorized, match=r"requires stage 'authenticated' \(current stage: 'init'\)"):
        left.call("secret", timeout=5)
    right.authenticate = lambda stage, payload: (AUTHENTICATED, None)
    left.auth(AUTHENTICATE)
    assert left.call("secret", timeout=5) == "treasure"


@pytest.mark.parametrize("grants", [INIT, AUTHENTICATED])
def test_a_step_of_ours_that_fails_leaves_the_stage_as_it_was(accepted: Ends, grants: AuthenticationStage) -> None:
    """Whether it is refused, not answered, or cannot be sent."""
    left, right, _, carrier = accepted
    right.stage = grants
    left.authenticate = None
    with pytest.raises(SocketUnsupported):
        right.auth(AUTHENTICATED)
    assert right.stage is grants
    with pytest.raises(ResilientError):
        right.auth(AUTHENTICATED, 1j)
    assert right.stage is grants
    carrier.silent = True
    with pytest.raises(SocketTimeout):
        right.auth(AUTHENTICATED, timeout=0.01)
    assert right.stage is grants


def test_a_step_that_cannot_be_answered_grants_nothing(accepted: Ends) -> None:
    """Neither the stage nor the identity: the peer has not got its answer."""
    left, right, *_ = accepted

    def hook(stage: Any, payload: Any) -> tuple[Any, Any]:
        right.auth_info = "Eve"
        return AUTHENTICATED, 1j

    right.authenticate = hook
    with pytest.raises(ResilientError):
        left.auth(AUTHENTICATE)
    assert (right.stage, right.auth_info) == (None, None)
    with pytest.raises(SocketUnauthorized):
        left.call("secret", timeout=5)


def test_a_stage_belongs_to_its_link(ends: Ends) -> None:
    """A step that finishes after its link was lost grants nothing on the next one."""
    left, right, carrier, _ = ends

    def hook(stage: Any, payload: Any) -> tuple[Any, Any]:
        carrier.lose()
        return AUTHENTICATED, None

    right.authenticate = hook
    with pytest.raises(SocketConnectionError):
        left.auth(AUTHENTICATE, timeout=5)
    assert [end.stage for end in (left, right)] == [INIT, INIT]


def test_an_auth_message_of_a_lost_link_is_not_an_answer_on_the_next(ends: Ends) -> None:
    """A `prepare` hook may hold it up until then."""
    left, _, carrier, _ = ends
    carrier.lose()
    carrier.restore()
    carrier.silent = True
    wrong: list[Any] = []
    left.on_error(lambda error, context: wrong.append(error))
    done: list[Any] = []
    waiter = threading.Thread(target=lambda: done.append(left.auth(INIT, timeout=5)))
    waiter.start()
    eventually(lambda: len(carrier.sent) == 1)
    left._core.receive('{"type":"auth","stage":"authenticated","payload":"old"}', carrier.links - 1)
    left._core.receive('{"type":"auth","stage":"allowence","payload":"new"}', carrier.links)
    waiter.join(5)
    assert (done, left.stage, len(wrong)) == (["new"], ALLOWENCE, 1)


def test_the_stage_is_taken_before_the_answer_leaves(ends: Ends) -> None:
    """So that a call that comes on the heels of the answer is not refused."""
    left, right, _, carrier = ends
    stages: list[Any] = []
    carrier.message_filter = lambda frame: (stages.append(right.stage), True)[1]
    left.auth(AUTHENTICATE, {"credential": "good"})
    assert stages == [AUTHENTICATED]
