from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.campaigns import quiet_campaign, same_campaign
from benchmarks.campaigns.conditions import make_trial
from benchmarks.campaigns.journal import Journal
from benchmarks.campaigns.judge import Outcome, judge, make_listener, outcome_of
from benchmarks.campaigns.quiet_sounds import CASE_S, KINDS, kind_of, quiet_trial
from benchmarks.campaigns.same_campaign import Plan
from benchmarks.campaigns.spoilt_headers import spoilt_message
from benchmarks.campaigns.tally import LOWEST_DECADE, Tally, decade
from benchmarks.campaigns.transmissions import RATE_HZ, Trial, burst, message
from tests.unit.benchmarks.liars import LIE, Scripted, failing, given, guessed, saying

HEADER = "ZCZC-WXR-TOR-029095-020091+0045-1231200-KEAX/NWS-"
OTHER = "ZCZC-WXR-SVR-029095-020091+0045-1231200-KEAX/NWS-"


def quiet_console() -> Console:
    return Console(file=io.StringIO())


def silent_trial(*headers: str, seconds: float = 2.0) -> Trial:
    return Trial(np.zeros(round(seconds * RATE_HZ), np.float32), RATE_HZ, headers, ((0, RATE_HZ // 2), (0, RATE_HZ)))


def test_a_header_is_right_when_it_is_exact_and_wrong_otherwise() -> None:
    right = judge(silent_trial(HEADER), saying(given(HEADER)))
    wrong = judge(silent_trial(HEADER), saying(given(OTHER)))
    assert (right.verified, right.guessed, right.wrong) == (True, True, ())
    assert (wrong.verified, wrong.guessed, wrong.wrong) == (False, False, (OTHER,))


def test_blanks_of_the_callsign_count() -> None:
    padded = "ZCZC-WXR-TOR-029095+0045-1231200-KR8MER  -"
    assert judge(silent_trial(padded), saying(given(padded.replace("  -", "-")))).wrong


def test_a_best_guess_is_no_wrong_header_and_no_verified_one() -> None:
    outcome = judge(silent_trial(HEADER), saying(guessed(OTHER), guessed(HEADER)))
    assert (outcome.verified, outcome.guessed, outcome.wrong) == (False, True, ())


def test_every_header_sent_has_to_be_given() -> None:
    outcome = judge(silent_trial(HEADER, OTHER), saying(given(OTHER)))
    assert not outcome.verified and not outcome.wrong
    assert judge(silent_trial(HEADER, OTHER), saying(given(OTHER), given(HEADER))).verified


def test_a_header_given_twice_is_repeated() -> None:
    assert judge(silent_trial(HEADER), saying(given(HEADER), given(HEADER))).repeated == 1


def test_delays_are_counted_from_the_ends_of_the_bursts_in_time_of_the_stream() -> None:
    outcome = judge(silent_trial(HEADER), saying(given(HEADER), after_s=1.2))
    assert outcome.after_first_s == pytest.approx(0.7, abs=0.051)
    assert outcome.after_third_s == pytest.approx(0.2, abs=0.051)
    assert judge(silent_trial(HEADER), saying(given(OTHER))).after_first_s is None


def test_an_outcome_survives_json() -> None:
    outcome = judge(silent_trial(HEADER), saying(given(HEADER, 1e-7), guessed(OTHER)))
    assert outcome_of(json.loads(json.dumps(outcome.as_json()))) == outcome


def test_our_own_decoder_is_judged_right_on_a_clear_transmission() -> None:
    outcome = judge(make_trial("awgn", 16.0, 3))
    assert outcome.verified and not outcome.wrong
    assert outcome.after_third_s is not None and outcome.after_third_s < 1.0


def outcome_with(*said: tuple[bool, bool, float]) -> Outcome:
    events = [(given if verified else guessed)(HEADER if right else OTHER, error) for verified, right, error in said]
    return judge(silent_trial(HEADER), saying(*events))


def test_predicted_errors_stand_beside_observed_ones() -> None:
    tally = Tally()
    tally.add(0, "awgn", "6", outcome_with((True, True, 2e-4), (True, True, 5e-4)))
    tally.add(1, "awgn", "6", outcome_with((True, False, 3e-4), (False, False, 0.7)))
    assert tally.predicted("given") == pytest.approx(1e-3)
    assert tally.observed("given") == 1
    assert tally.predicted("all") == pytest.approx(0.701)
    assert tally.observed("all") == 2
    lines = tally.as_json()["calibration"]["all"]
    assert [(line["headers"], line["wrong"]) for line in lines] == [(3, 1), (1, 1)]
    assert lines[0]["from"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, LOWEST_DECADE), (1e-12, LOWEST_DECADE), (1e-3, -3), (9.9e-3, -3), (0.5, -1), (1.0, 0), (float("nan"), 0)],
)
def test_errors_fall_into_decades(error: float, expected: int) -> None:
    assert decade(error) == expected


def test_a_campaign_counts_every_lie_with_what_it_takes_to_repeat_it() -> None:
    plan = Plan(5, ("awgn", "lone burst"))
    tally = same_campaign.run(plan, 7, quiet_console(), make=saying(given(LIE, 1e-5)))
    assert tally.total("sent") == tally.total("wrong") == 7
    assert tally.total("verified") == 0
    assert [wrong["case"] for wrong in tally.wrong] == list(range(7))
    first = tally.wrong[0]
    name, level, seed = plan.case(first["case"])
    assert (first["condition"], first["level"]) == (name, str(level))
    assert first["wrong"] == LIE
    assert first["sent"] == list(make_trial(name, level, seed).headers)
    assert first["predicted"] == 1e-5
    assert tally.predicted("given") == pytest.approx(7e-5)


def test_a_campaign_of_a_liar_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.nice", lambda increment: increment)
    arguments = ["--transmissions", "3", "--only", "awgn", "--json", str(tmp_path / "report.json")]
    assert same_campaign.main(arguments, saying(given(LIE))) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["wrong_headers"] == 3
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert same_campaign.main(arguments, saying()) == 0
    assert quiet_campaign.main(["--hours", "0.02"], saying(given(LIE))) == 1


def test_one_case_alone_is_the_same_transmission(capsys: pytest.CaptureFixture[str]) -> None:
    name, level, seed = Plan(5, ("awgn",)).case(4)
    header = make_trial(name, level, seed).headers[0]
    assert same_campaign.main(["--seed", "5", "--only", "awgn", "--case", "4"], saying(given(LIE))) == 1
    shown = capsys.readouterr().out
    assert header in shown and LIE in shown
    assert same_campaign.main(["--trial", name, str(level), str(seed)], saying(given(LIE))) == 1
    assert capsys.readouterr().out == shown


def test_a_decoder_that_raises_is_counted_and_the_campaign_goes_on() -> None:
    tally = same_campaign.run(Plan(5, ("awgn",)), 3, quiet_console(), make=failing)
    assert tally.total("failed") == len(tally.failures) == 3
    assert "ZeroDivisionError" in tally.failures[0]["reason"]


def test_several_processes_give_the_same_as_one() -> None:
    plan, make = Plan(5, ("awgn",)), saying(given(LIE, 1e-5))
    one, two = (same_campaign.run(plan, 4, quiet_console(), jobs=jobs, make=make) for jobs in (1, 2))
    assert two.counts == one.counts
    assert sorted(two.wrong, key=lambda wrong: int(wrong["case"])) == one.wrong


def test_a_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    plan, journal = Plan(5, ("awgn",)), tmp_path / "journal"
    same_campaign.run(plan, 4, quiet_console(), journal=journal, make=saying(given(LIE)))
    # What is left is tried by a decoder that says nothing: the lies are those of the journal.
    tally = same_campaign.run(plan, 6, quiet_console(), journal=journal, make=saying())
    assert tally.total("sent") == 6
    assert sorted(wrong["case"] for wrong in tally.wrong) == [0, 1, 2, 3]


def test_a_journal_whose_last_line_was_cut_short_is_taken_up_before_it(tmp_path: Path) -> None:
    plan, journal = Plan(5, ("awgn",)), tmp_path / "journal"
    same_campaign.run(plan, 3, quiet_console(), journal=journal, make=saying(given(LIE)))
    journal.write_text(journal.read_text()[:-20])
    tally = same_campaign.run(plan, 3, quiet_console(), journal=journal, make=saying())
    assert (tally.total("sent"), tally.total("wrong")) == (3, 2)


def test_a_journal_of_another_campaign_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", {"seed": 1}) as journal:
        journal.keep({"case": 0})
    with pytest.raises(ValueError, match="another campaign"):
        Journal(tmp_path / "journal", {"seed": 2})


def test_the_numbers_of_a_plan_lead_through_every_level() -> None:
    plan = Plan(1, ("awgn", "twist"))
    cases = [plan.case(number) for number in range(len(plan.round()))]
    assert {(name, level) for name, level, _ in cases} == set(plan.round())
    assert len({seed for _, _, seed in cases}) == len(cases)
    assert plan.case(0) != Plan(2, plan.conditions).case(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_minute_of_each_kind_is_sound_and_the_same_each_time(kind: str) -> None:
    number = next(n for n in range(100) if kind_of(n) == kind)
    trial = quiet_trial(3, number)
    assert len(trial.pcm) >= 0.95 * CASE_S * RATE_HZ
    assert trial.pcm.dtype == np.float32
    assert np.all(np.isfinite(trial.pcm))
    assert 1e-3 < np.abs(trial.pcm).max() <= 1.0
    assert bool(trial.headers) == (kind == "spoilt headers")
    again = quiet_trial(3, number)
    assert np.array_equal(trial.pcm, again.pcm)
    assert trial.headers == again.headers
    assert not np.array_equal(trial.pcm[:1000], quiet_trial(4, number).pcm[:1000])


def test_spoilt_headers_carry_bursts_that_differ_from_what_was_sent() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        pcm, headers = spoilt_message(rng)
        whole = burst(headers[0])
        places = [k for k in range(len(pcm) - len(whole)) if pcm[k] == 0.0 and pcm[k + 1] == whole[1]]
        clean = sum(np.array_equal(pcm[k : k + len(whole)], whole) for k in places)
        assert clean <= 1, "two whole bursts are no spoilt message"


def test_every_message_of_a_minute_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter("abcdef")
    monkeypatch.setattr(
        "benchmarks.campaigns.quiet_sounds.spoilt_message",
        lambda rng: (np.ones(20 * RATE_HZ, np.float32), (next(names),)),
    )
    number = next(n for n in range(100) if kind_of(n) == "spoilt headers")
    assert quiet_trial(3, number).headers == ("a", "b", "c")


def test_in_a_quiet_campaign_only_what_was_sent_may_be_given() -> None:
    number = next(n for n in range(100) if kind_of(n) == "spoilt headers")
    header = quiet_trial(2, number).headers[0]
    tally, unverified = quiet_campaign.run(
        2, (number + 1) * CASE_S / 3600.0, quiet_console(), make=saying(given(header), guessed(LIE))
    )
    wrong = {each["case"] for each in tally.wrong}
    assert wrong == set(range(number)), "right in the minute in which it was sent, and nowhere else"
    assert unverified["spoilt headers"] == 1
    report = quiet_campaign.report(2, tally, unverified)
    assert report["wrong_headers"] == number
    assert report["kinds"]["noise"]["wrong"] == sum(kind_of(n) == "noise" for n in range(number))


def test_our_own_decoder_gives_nothing_in_noise() -> None:
    number = next(n for n in range(100) if kind_of(n) == "noise")
    outcome = judge(quiet_trial(3, number))
    assert outcome.claims == ()


def test_the_listener_of_campaigns_is_the_stations_own() -> None:
    from app_core.eas.listener import SameListener

    assert isinstance(make_listener(22050.0), SameListener)
    assert not isinstance(make_listener(22050.0), Scripted)


def test_messages_know_where_their_bursts_are() -> None:
    aired = message(HEADER, present=(True, False, True), cut_s=0.1)
    whole = burst(HEADER)
    (first, first_end), (third, third_end) = aired.bursts
    assert np.array_equal(aired.pcm[third:third_end], whole)
    assert np.array_equal(aired.pcm[first:first_end], whole[round(0.1 * RATE_HZ) :])
