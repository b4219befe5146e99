"""A guard for each language's list, and for the lists together."""
# ruff: noqa: RUF001 - other scripts have letters that look alike

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

import safety_middleware.wordlist as package
from safety_middleware.wordlist import LANGUAGES, Term, Wordlist

DATA = Path(package.__file__).parent / "data"

CARRIERS = {
    "ar": "قال لي {} أمس",
    "de": "Gestern rief er {} und ging.",
    "en": "He said {} yesterday, then he left.",
    "es": "Ayer dijo {} y se fue.",
    "fr": "Hier il a dit {} avant de partir.",
    "hi": "कल उसने कहा {} और चला गया",
    "it": "Ieri ha detto {} prima di uscire.",
    "ja": "昨日「{}」と言われた。",
    "ko": "어제 그가 {} 하고 말했다.",
    "nl": "Gisteren zei hij {} voor hij wegging.",
    "pl": "Wczoraj powiedział {} i wyszedł.",
    "pt": "Ontem ele disse {} antes de sair.",
    "ru": "Вчера он сказал {} и ушёл.",
    "tr": "Dün bana {} dedi ve gitti.",
    "zh": "昨天他说{}。",
}

CLEAN = {
    "ar": ["الطقس جميل اليوم في المدينة.", "أين أقرب محطة قطار من فضلك؟", "أحب قراءة الكتب في المساء."],
    "de": ["Das Wetter ist heute schön.", "Der Marsch durch die Stadt dauert zwei Stunden.", "Wo finde ich den nächsten Bahnhof?"],
    "en": ["The weather is nice today.", "Scunthorpe is a town in England.", "How do I reset my password?"],
    "es": ["Hoy hace buen tiempo en la ciudad.", "La computadora y la disputa.", "¿Dónde está la estación más cercana?"],
    "fr": ["Le train a du retard ce matin.", "Il fait beau à Bitche.", "Où se trouve la gare la plus proche ?"],
    "hi": ["आज मौसम बहुत अच्छा है।", "मुझे किताबें पढ़ना पसंद है।", "रेलवे स्टेशन कहाँ है?"],
    "it": ["Oggi il tempo è bello.", "Dove si trova la stazione più vicina?", "Mi piace leggere libri la sera."],
    "ja": ["今日はいい天気ですね。", "駅はどこにありますか。", "夜は本を読むのが好きです。"],
    "ko": ["오늘 날씨가 참 좋네요.", "가장 가까운 역이 어디예요?", "저는 저녁에 책 읽는 것을 좋아해요."],
    "nl": ["Het is mooi weer vandaag.", "Je kunt de hoes om het kussen doen.", "Waar is het dichtstbijzijnde station?"],
    "pl": ["Dzisiaj jest ładna pogoda.", "Gdzie jest najbliższy dworzec?", "Lubię czytać książki wieczorem."],
    "pt": ["Hoje o tempo está bom.", "A computação e a reputação da empresa.", "Onde fica a estação mais próxima?"],
    "ru": ["Сегодня хорошая погода.", "Где находится ближайший вокзал?", "Застрахуйте корабль и не употребляйте много сахара."],
    "tr": ["Bugün hava çok güzel.", "En yakın istasyon nerede?", "Akşamları kitap okumayı severim."],
    "zh": ["今天天气很好。", "请问最近的火车站在哪里？", "我喜欢晚上看书。"],
}  # fmt: skip

_PEOPLE = """
gay lesbian bisexual trans transgender jew jews jewish muslim muslims christian hindu black
blacks white whites asian arab mexican african immigrant immigrants refugee woman women girl
disabled autistic schwul lesbe jude juden muslim türke ausländer behindert frau homosexual
judío judía negro negra moro gitano mujer musulmán homosexuel juif juive musulman arabe noir
femme judeu judia preto preta muçulmano mulher ebreo ebrea musulmano nero donna jood joden
moslim vrouw żyd żydzi muzułmanin kobieta yahudi müslüman kadın ermeni еврей
мусульманин женщина гей يهودي مسلم امرأة أسود यहूदी मुस्लिम औरत हिन्दू 犹太人 穆斯林 黑人 女人 同性恋
ユダヤ人 黒人 女性 同性愛 유대인 무슬림 흑인 여자 게이
"""
PEOPLE = frozenset(_PEOPLE.split())
"""Words for groups of people: never terms that count."""


def terms(language: str) -> list[Term]:
    return list(Wordlist.default([language]).terms)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_enough_terms_and_each_once(language: str) -> None:
    heads = [term.text.casefold() for term in terms(language)]
    assert len(heads) >= (300 if language == "en" else 40)
    assert len(heads) == len(set(heads)), sorted({h for h in heads if heads.count(h) > 1})


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_term_that_counts_is_a_word_for_people(language: str) -> None:
    counting = {s.casefold() for t in terms(language) if t.severity > 2 for s in t.spellings}
    assert not counting & PEOPLE


@pytest.mark.parametrize("language", LANGUAGES)
def test_terms_inside_words_are_long_enough_to_mean_something(language: str) -> None:
    for term in terms(language):
        if term.mode in {"prefix", "substring"} and term.severity > 2:
            for spelling in term.spellings:
                least = 2 if re.search("[\u3040-\u9fff\uac00-\ud7a3]", spelling) else 3
                assert len(spelling) >= least, spelling


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_term_that_counts_is_found_in_a_sentence_of_its_language(language: str) -> None:
    words, carrier = Wordlist.default([language]), CARRIERS[language]
    missed: list[str] = []
    for term in words.terms:
        for spelling in set(term.spellings).difference(term.allow) if term.severity > 2 else ():
            for written in (spelling, unicodedata.normalize("NFD", spelling)):
                start = carrier.index("{")
                found = words.find_all(carrier.format(written))
                if not any(m.start < start + len(written) and m.end > start for m in found):
                    missed.append(written)
    assert not missed


@pytest.mark.parametrize("language", LANGUAGES)
def test_clean_sentences_pass_with_all_languages_on(language: str) -> None:
    for sentence in (*CLEAN[language], CARRIERS[language].format("…")):
        assert Wordlist.default().find(sentence) is None, sentence


def test_exceptions_are_words_the_lists_would_block() -> None:
    exceptions = (DATA / "exceptions.txt").read_text("utf-8").splitlines()
    assert exceptions == sorted(set(exceptions))
    words = Wordlist.default()
    assert not [word for word in exceptions if words.blocked(word)]


def test_no_term_s_own_spelling_is_an_exception() -> None:
    exceptions = set((DATA / "exceptions.txt").read_text("utf-8").splitlines())
    spellings = {
        s.lower() for term in Wordlist.default().terms if term.severity > 2 for s in term.spellings
    }
    assert not exceptions & spellings
