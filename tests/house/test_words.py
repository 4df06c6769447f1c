"""The English of the project: patterns that are no idiom of it are refused wherever people read."""

import re
from functools import cache

import pytest
from paths import ROOT

PLACES = {
    "src": ("*.py", "*.sql"),
    "docs": ("*.py", "*.md"),
    "tests": ("*.py",),
    "examples": ("*.py", "*.md"),
    "benchmarks": ("*.py", "*.md"),
    ".": ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
}
# A sentence goes on in the next line of a comment, of a docstring or of a text in parts.
BREAK = re.compile(r'[ \t]*"?[ \t]*\n[ \t]*(?:#:?|--|f?")?[ \t]*')

WORSE = {  # pattern: what to say instead; `who=` and its like are names in code
    r"\b(?:for|by|from|to|of|than|with|against|behind) who\b(?! ?[=,?:)]| in\b)": "whoever",
    r"(?<!\b[Tt]here )(?<! may)(?<! can)\b(?:is|are|was|were) no (?!longer\b|more\b|one\b)": (
        "is not a"
    ),
    r"\b[Dd]o as `": "like",
    r"\b[Ll]ikewise\b": "in the same way, as above",
    r"\bMake the error for\b": "the situation itself",
    r"\b(?:bears|bear|bearing) (?:that|it|this|being)\b": "tolerates",
    r"\bin this very moment\b": "just now",
}
HERE = "tests/house/test_words.py"  # which shows what it refuses


@cache
def texts() -> list[tuple[str, str]]:
    """Give each file of ours with its text, whose lines are joined."""
    found = []
    for folder, kinds in PLACES.items():
        for kind in kinds:
            walk = (ROOT / folder).glob if folder == "." else (ROOT / folder).rglob
            for path in sorted(walk(kind)):
                name = path.relative_to(ROOT).as_posix()
                if "_build" not in path.parts and name not in {HERE, "CONTRIBUTING.md"}:
                    found.append((name, BREAK.sub(" ", path.read_text(encoding="utf-8"))))
    return found


@pytest.mark.parametrize("pattern", WORSE)
def test_no_sentence_is_a_translation(pattern: str) -> None:
    """What is told to people, in pages, messages, docstrings and comments, is idiomatic."""
    found = [
        f"{name}: …{text[max(0, match.start() - 40) : match.end() + 40]}…"
        for name, text in texts()
        for match in re.finditer(pattern, text)
    ]

    assert found == [], f"say {WORSE[pattern]!r}"


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ('"""The file is\n    no journal."""', True),
        ("# kept for\n# who comes next", True),
        ('message = f"{path} is "\n    f"no file"', True),
        ("there is no journal", False),
        ("is no longer there", False),
        ('repair(journal, by, who="ada")', False),
    ],
)
def test_what_is_refused_is_found(text: str, *, is_refused: bool) -> None:
    """Also where a line ends in it; what is good English, or code, is let through."""
    joined = BREAK.sub(" ", text)

    assert any(re.search(pattern, joined) for pattern in WORSE) is is_refused
