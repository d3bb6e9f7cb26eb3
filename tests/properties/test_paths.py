"""What holds for paths of any operating system, and for rules that take them elsewhere."""

from __future__ import annotations

import ntpath
import posixpath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codex_session_sync.errors import UsageError
from codex_session_sync.places.adaptation import Adaptation
from codex_session_sync.places.mapping import PathMap, parse_rules
from codex_session_sync.places.paths import Path, parse

ANCHORS = ("/", "C:", "z:", "\\\\server\\share", "\\\\wsl$\\Ubuntu")

# Not in names: what parts them anywhere, and what "absolute" rests on.
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=6
).filter(lambda name: name not in (".", ".."))
folders = st.lists(names, max_size=4).map(tuple)
anchors = st.sampled_from(ANCHORS)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str, tuple[str, ...]]:
    """A path as some program may write it, with its anchor and its names."""
    anchor, found = draw(anchors), draw(folders)
    if anchor == "/":
        slashes = draw(st.lists(st.sampled_from(["/", "//", "/./"]), min_size=5, max_size=5))
        tail = draw(st.sampled_from(["", "/"])) if found else ""
        text = "/" + "".join(map("".join, zip(found, slashes, strict=False)))
        return (text.rstrip("/.") if not tail and found else text), anchor, found
    slash = draw(st.sampled_from("\\/")) if anchor[1] == ":" else "\\"
    prefix = draw(st.sampled_from(["", "\\\\?\\", "//?/"]))
    head = anchor
    if prefix and anchor.startswith("\\\\"):
        head = draw(st.sampled_from(["UNC", "unc"])) + anchor[1:]
        if prefix == "//?/":
            head = head.replace("\\", "/")
    text = prefix + slash.join([head, *found]) + draw(st.sampled_from(["", slash]))
    return (text if found else prefix + head + slash), anchor, found


def path_of(anchor: str, found: tuple[str, ...]) -> Path:
    parsed = parse(str(Path(anchor, found, "\\")))
    assert parsed is not None
    return parsed


def plain(name: str) -> bool:
    """Whether a name survives being stripped at its end, which ``texts`` does to POSIX paths."""
    return not name.endswith((".", "/"))


@given(texts())
def test_every_spelling_of_a_path_is_the_same_place(
    written: tuple[str, str, tuple[str, ...]],
) -> None:
    text, anchor, found = written
    assume(all(map(plain, found)))
    path = parse(text)
    assert path is not None
    assert path.names == found
    assert path.key == path_of(anchor, found).key
    again = parse(str(path))
    assert again is not None
    assert again.key == path.key
    # The program's own spelling is one that the operating system has.
    module = ntpath if path.windows else posixpath
    assert module.isabs(str(path))


@given(
    folders,
    folders,
    folders.filter(bool),
    st.sampled_from(ANCHORS),
    st.sampled_from(ANCHORS),
)
def test_there_and_back(
    above: tuple[str, ...], target: tuple[str, ...], below: tuple[str, ...], one: str, other: str
) -> None:
    there, back = path_of(one, above), path_of(other, target)
    text = str(there.joined(below))
    mapped = PathMap(((there, back),)).map(text)
    assert mapped == str(back.joined(below))
    assert PathMap(((back, there),)).map(mapped) == text


@given(folders.filter(bool), names, anchors)
def test_only_whole_names_count(above: tuple[str, ...], more: str, anchor: str) -> None:
    here = path_of(anchor, above)
    longer = path_of(anchor, (*above[:-1], above[-1] + more))
    assume(longer.key != here.key)
    rules = PathMap(((here, path_of("/", ("elsewhere",))),))
    assert rules.find(str(longer)) is None
    assert rules.map(str(longer)) == str(longer)
    assert rules.map(str(here)) == "/elsewhere"


@given(folders.filter(bool), anchors)
def test_the_longest_rule_counts_whatever_the_order(found: tuple[str, ...], anchor: str) -> None:
    rules = [
        (path_of(anchor, found[:depth]), path_of("/", (f"depth{depth}",)))
        for depth in range(len(found) + 1)
    ]
    text = str(path_of(anchor, found))
    for order in (rules, rules[::-1]):
        assert PathMap(tuple(order)).map(text) == f"/depth{len(found)}"


@given(folders, st.sampled_from(ANCHORS))
def test_case_counts_where_it_does(found: tuple[str, ...], anchor: str) -> None:
    path = path_of(anchor, found)
    swapped = path_of(anchor, tuple(name.upper() for name in found))
    assume(tuple(name.upper().lower() for name in found) == tuple(n.lower() for n in found))
    same = PathMap(((swapped, path_of("/", ("x",))),)).map(str(path)) == "/x"
    assert same == (anchor != "/" or swapped == path)


@given(folders.filter(bool), folders.filter(bool), anchors, anchors)
def test_a_rule_is_read_as_it_is_written(
    one: tuple[str, ...], other: tuple[str, ...], source: str, target: str
) -> None:
    a, b = path_of(source, one), path_of(target, other)
    text = f"{a}={b}"
    # A "=" before what looks like an absolute path parts a rule: such a name cannot be given.
    assume(
        text.index("=") == len(str(a))
        or not any(
            parse(text[:i]) and parse(text[i + 1 :]) for i in range(len(str(a))) if text[i] == "="
        )
    )
    [(found, to)] = parse_rules([text]).rules
    assert (found.key, to.key) == (a.key, b.key)


@given(st.text(max_size=30))
def test_no_text_fails(text: str) -> None:
    path = parse(text)
    everything = parse_rules(["/=/x", "C:\\=/c"])
    mapped = everything.map(text)
    if path is None:
        assert mapped == text
        assert everything.find(text) is None
    assert Adaptation(everything).record("turn_context", {"cwd": text}) == {"cwd": mapped}


STAY = (
    "",
    "relative/path",
    "C:relative",
    "C",
    "\\rooted",
    "//server/share/x",
    "\\\\server",
    "\\\\?\\Volume{0}\\x",
    "\\\\.\\pipe\\x",
    "/home/alice/../bob",
    "C:\\Users\\..\\x",
    "~/x",
    "file:///home/alice",
    "/nul\0",
    ":root",
)


@pytest.mark.parametrize("text", STAY)
def test_what_is_no_absolute_path_stays(text: str) -> None:
    assert parse(text) is None
    assert parse_rules(["/=/x", "C:\\=/c"], "/home/me").map(text) == text


EXAMPLES = (
    ("/home/alice=/Users/bob", "/home/alice", "/Users/bob"),
    ("/home/alice/=/Users/bob/", "/home/alice/a b/", "/Users/bob/a b"),
    ("/home/alice=/Users/bob", "/home/alice2/x", "/home/alice2/x"),
    ("/home/alice=/Users/bob", "/HOME/alice/x", "/HOME/alice/x"),
    ("C:\\Users\\alice=/home/bob", "c:\\users\\ALICE\\Src\\x", "/home/bob/Src/x"),
    ("C:\\Users\\alice=/home/bob", "\\\\?\\C:\\Users\\alice\\x", "/home/bob/x"),
    ("C:/Users/alice=/home/bob", "//?/C:/Users/alice/x", "/home/bob/x"),
    ("C:\\=/mnt/c", "C:\\Users\\alice", "/mnt/c/Users/alice"),
    ("C:=/mnt/c", "C:\\", "/mnt/c"),
    ("/mnt/c=C:\\", "/mnt/c/Users/alice", "C:\\Users\\alice"),
    ("/mnt/c=C:\\", "/mnt/c", "C:\\"),
    ("/mnt/c=C:\\", "/mnt/cd", "/mnt/cd"),
    ("/mnt/c=C:/", "/mnt/c/x/y", "C:/x/y"),
    ("\\\\nas\\work=/srv/work", "\\\\?\\UNC\\NAS\\Work\\p", "/srv/work/p"),
    ("\\\\nas\\work=/srv/work", "//?/UNC/nas/work/p", "/srv/work/p"),
    ("/srv/work=\\\\nas\\work", "/srv/work/p", "\\\\nas\\work\\p"),
    ("\\\\wsl$\\Ubuntu=/", "\\\\wsl$\\Ubuntu\\home\\alice", "/home/alice"),
    ("/home=C:\\h", "/home/back\\slash", "/home/back\\slash"),
    ("C:\\Straße=/x", "C:\\Strasse", "C:\\Strasse"),
    ("/a=b=/x", "/a=b/y", "/x/y"),
    ("/a=/x=y", "/a/b", "/x=y/b"),
    ("/a=/a", "/a/b", "/a/b"),
)


@pytest.mark.parametrize(("rule", "text", "expected"), EXAMPLES)
def test_examples(rule: str, text: str, expected: str) -> None:
    assert parse_rules([rule]).map(text) == expected


def test_a_rule_for_the_same_place_leaves_it_against_others() -> None:
    rules = parse_rules(["/home=/Users", "/home/alice/kept=/home/alice/kept"])
    assert rules.map("/home/alice/kept/x") == "/home/alice/kept/x"
    assert rules.map("/home/alice/other") == "/Users/alice/other"
    given_now = parse_rules(["/home=/home"])
    assert given_now.then(parse_rules(["/home=/Users"])).map("/home/alice") == "/home/alice"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C:\\Users\\alice\\Documents\\garden", "/home/me/Documents/garden"),
        ("\\\\?\\C:\\Users\\alice\\Documents\\garden\\x", "/home/me/Documents/garden/x"),
        ("D:\\Documents\\a\\Documents\\b", "/home/me/Documents/a/Documents/b"),
        ("C:\\Users\\alice\\documents\\x", "/home/me/documents/x"),
        ("C:\\Users\\alice\\Documents", "C:\\Users\\alice\\Documents"),
        ("C:\\Users\\alice\\MyDocuments\\x", "C:\\Users\\alice\\MyDocuments\\x"),
        ("/home/alice/Documents/x", "/home/alice/Documents/x"),
    ],
)
def test_the_rule_of_the_first_import_tool(text: str, expected: str) -> None:
    assert parse_rules([], "/home/me").map(text) == expected
    if text != expected:
        # A rule is more than a guess.
        assert parse_rules(["C:\\=/c", "D:\\=/c"], "/home/me").map(text).startswith("/c/")


@pytest.mark.parametrize(
    ("rules", "home"),
    [
        (["nothing"], None),
        (["=/x"], None),
        (["/x="], None),
        (["a=/x"], None),
        (["/x=y"], None),
        (["/x/../y=/z"], None),
        (["/x=/y", "/x/=/z"], None),
        (["C:\\x=/y", "c:/X=/z"], None),
        (["/\udcff=/y"], None),
        ([], "relative"),
        ([], "/\udcff"),
    ],
)
def test_what_is_no_rule(rules: list[str], home: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rules(rules, home)
    assert caught.value.code == "path_map_invalid"
    caught.value.message.encode()


def test_the_same_rule_twice_is_one() -> None:
    assert len(parse_rules(["/x=/y", "/x/=/y/"]).rules) == 1
