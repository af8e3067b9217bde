"""Plain English: words that read as translated are found, and what to write instead is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.prose import Passage, pages, sources

KINDS: Final = "number|whole number|header|path|address|FastCGI|JSON|coroutine|string|script|file|error"
EVENTS: Final = "answer|end|response|request|probe|tail|head|last"
# a blank may be the end of a line
WORDS: Final = {
    r"(?:None|True|False|an error|infinity|empty) where": "if",
    r"where there (?:is|are|was|were) (?:no|none|nothing|one|a|an)": "if there is",
    r"where (?:that|this|nobody|somebody|neither) (?:is|are|was|does|has|cannot|may|can|did)": "if",
    r"where it (?:does|has|cannot|may|did|will)": "if",
    r"take (?:note (?:that|of)|it that)": "'Called when ...', or the effect",
    r"who(?:ever|mever|m)": "the caller, the client, everyone who",
    r"in vain": "without success",
    r"com(?:e|es|ing) to nothing|came to nothing": "fail",
    r"stands? outside|stood outside": "wait outside the queue",
    r"nobody asked": "was never retrieved",
    r"in good order": "normally",
    r"(?:the like of|for want of)": "such as, for lack of",
    r"whose it is": "its owner",
    r"shall": "must, should or will",
    r"(?:in the midst of|befall\w*|albeit|whilst)": "during, happen to, although, while",
    rf"(?<!there.)(?:is|are|was) no (?:{KINDS})(?![\w-])": "is not a",
    r"be (?:it|they) (?:out|read|an?|in|on|of|that)": "whether it is",
    rf"behind (?:it|its|them|that|(?:the|an?) (?:{EVENTS}))": "after",
    r"(?:would|could|might) else": "otherwise",
}
PATTERNS: Final = {
    words: re.compile(rf"\b(?:{words})\b".replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL) for words in WORDS
}


@pytest.fixture(scope="module")
def prose() -> list[Passage]:
    """All of it."""
    return [*pages(), *sources()]


@pytest.mark.parametrize("words", WORDS)
def test_plain_words(prose: list[Passage], words: str) -> None:
    """Nothing has these words."""
    found = sorted({place for passage in prose for place in passage.find(PATTERNS[words])})
    assert found == [], f"write instead: {WORDS[words]}"


def test_words_are_found() -> None:
    """In any case, across the end of a line, and told with the line that they begin in."""
    passage = Passage(Path(__file__).parents[2] / "README.md", 1, "first\nReturn None\nwhere it is")
    (pattern,) = [pattern for words, pattern in PATTERNS.items() if words.startswith("(?:None")]
    assert [*passage.find(pattern)] == ["README.md:2: None where"]
