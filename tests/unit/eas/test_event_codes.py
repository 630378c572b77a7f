from app_core.eas.event_codes import EVENT_KINDS, event_codes, find_event


def test_known_codes_have_their_names_and_kinds() -> None:
    expected = {
        "TOR": ("Tornado Warning", "warning"),
        "TOA": ("Tornado Watch", "watch"),
        "SVS": ("Severe Weather Statement", "statement"),
        "CEM": ("Civil Emergency Message", "emergency"),
        "EAN": ("National Emergency Message", "emergency"),
        "BLU": ("Blue Alert", "emergency"),
        "RWT": ("Required Weekly Test", "test"),
        "DMO": ("Practice/Demo Warning", "test"),
        "ADR": ("Administrative Message", "administrative"),
        "TXF": ("Transmitter Carrier Off", "administrative"),
    }
    for code, (name, kind) in expected.items():
        event = find_event(code)
        assert (event.code, event.name, event.kind) == (code, name, kind)


def test_every_row_is_complete() -> None:
    table = event_codes()
    assert len(table) >= 80
    for code, event in table.items():
        assert len(code) == 3 and code.isalnum() and code == event.code
        assert event.name
        assert event.name_es and event.name_es != event.name
        assert event.kind in EVENT_KINDS and event.kind != "unknown"


def test_an_unknown_code_is_named_as_unknown_and_keeps_its_significance() -> None:
    assert find_event("XYZ").name == "Unknown event (XYZ)"
    assert find_event("XYZ").kind == "unknown"
    assert find_event("QQW").kind == "warning"
    assert find_event("QQA").kind == "watch"


def test_names_in_spanish_keep_the_words_for_warning_watch_and_statement() -> None:
    words = {"warning": ("Aviso ", "Evacuación "), "watch": ("Vigilancia ",), "statement": ("Declaración ",)}
    for event in event_codes().values():
        if event.kind in words:
            assert event.name_es.startswith(words[event.kind]), event.code
    assert find_event("TOR").name_es == "Aviso de Tornado"
    assert find_event("XYZ").name_es == "Evento desconocido (XYZ)"


def test_nonsense_is_not_an_error() -> None:
    assert find_event("").name == "Unknown event ()"
    assert find_event("tor").kind == "unknown"
