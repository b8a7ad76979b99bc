"""Texts of a record are shown as they are: no markup, link, mention, HTML or hidden character comes of them."""

from itertools import product
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.markdown import Notes, Section, counted, escape, render_contents, render_sections
from harness.records import Record
from harness.tables import render_markdown
from tests.helpers import HOST, make_cell, make_content, make_step_cell, make_step_content

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = (
    "<script>alert(1)</script> | \" ' ` ``x`` *b* **b** _i_ __i__ ~~s~~ [x](javascript:alert(1)) "
    "![x](https://x.y/z.png) <javascript:x> &lt; &copy; $a$ \\ \\| \\[x](y) @user #12 GH-3 www.x.y\n\n"
    "# heading\n\n```\nfence\n| a | b |\n\u202eevil\u2066\u200b\u0000"
)
HARMLESS = {"inline", "text", "softbreak", "text_special"}
HARMLESS |= {
    f"{block}_{end}"
    for block in ("heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "ordered_list", "bullet_list")
    for end in ("open", "close")
}
HARMLESS |= {"list_item_open", "list_item_close", "code_inline", "link_open", "link_close"}


def shown(text: str) -> str:
    """Return what a reader sees of a Markdown paragraph."""
    inline = PARSER.parse(text)[1]
    return "".join(token.content for token in inline.children or [])


def walk(tokens: list[Token]) -> list[Token]:
    return [one for token in tokens for one in (token, *walk(token.children or []))]


@pytest.mark.parametrize(
    "text",
    [
        "keras-torch", "mnist-mlp units=64", "digits-mlp epochs=3 target_error_rate=0.05", "torch 2.13.0+cpu",
        "off by 0.25 at dense_1/bias", "NVIDIA H200", "AMD EPYC 9B14 (96 cores)", "39.50", "ended by SIGSEGV",
    ],
)  # fmt: skip
def test_usual_names_stay_as_they_are(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))", "![x](z.png)", "`code`", "*b* **b**", "_i_ __init__ a_b", "~~s~~",
        "<b>x</b>", "<mailto:x>", "&lt; &copy;", "\\", "\\*", "- x", "+ x", "# x", "> x", "1. x", "2) x", "---",
    ],
)  # fmt: skip
def test_markup_is_shown_and_not_followed(text: str) -> None:
    tokens = walk(PARSER.parse(escape(text)))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    assert shown(escape(text)) == text


@pytest.mark.parametrize(
    "text", ["@user", "a@b.example", "#12", "x/y#12", "GH-3", "https://x.y", "www.x.y", ":rocket:"]
)
def test_what_github_links_by_itself_is_parted(text: str) -> None:
    assert "\u2060" in shown(escape(text))
    assert shown(escape(text)).replace("\u2060", "") == text


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u200b", "\u200f", "\u061c", "\ufeff", "\x00", "\x1b"])
def test_characters_that_are_not_seen_are_shown(hidden: str) -> None:
    assert escape(f"a{hidden}b") == f"a\\{ascii(hidden)[1:-1]}b"


def test_a_pipe_after_a_backslash_ends_no_cell() -> None:
    tokens = walk(PARSER.parse(f"| a | b |\n|:--|:--|\n| {escape(chr(92) + '|')} | {escape('x|y')} |\n"))
    cells = [token.content for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert shown(cells[3]) == "x|y"


def test_a_text_of_several_lines_stands_on_one() -> None:
    assert escape("a\n\n# b\r\n\u2028c") == "a # b c"


def hostile_content() -> dict[str, Any]:
    """A failed run whose every text is hostile."""
    content = make_content(make_cell("torch"), [2.0, 1.0], status="failed", reason=HOSTILE)
    for part, names in {
        "cell": ("tool", "model", "precision"), "host": ("machine", "cpu"), "fingerprints": ("spec", "adapter"),
    }.items():  # fmt: skip
        content[part] = {**content[part], **dict.fromkeys(names, HOSTILE)}
    content["cell"]["workload"] = {"name": HOSTILE, "parameters": {HOSTILE: HOSTILE}}
    content["host"] |= {"gpus": [{"name": HOSTILE}]}
    content["fingerprints"]["data_unverified"] = [HOSTILE]
    content["versions"] = {"python": HOSTILE, "packages": {"torch": HOSTILE}}
    content["sameness"] |= {"level": HOSTILE, "reason": HOSTILE}
    return content | {"suite": HOSTILE, "finished_at": HOSTILE, "session": HOSTILE}


def hostile_contents() -> list[dict[str, Any]]:
    """Runs with hostile texts that failed, came out well, were not to be had, and measured steps, on CPU and GPU."""
    failed, absent, ok, on_gpu, strange = (hostile_content() for _ in range(5))
    absent["cell"]["tool"], absent["status"] = "torch", "unavailable"
    ok["cell"]["tool"], ok["status"] = "jax", "ok"
    on_gpu["cell"] |= {"tool": "jax", "device": "gpu", "gpus": 1}
    on_gpu["status"] = "ok"
    on_gpu["utilisation"]["throttle"] = [HOSTILE]
    strange["cell"]["tool"], strange["status"] = "mxnet", HOSTILE
    return [failed, absent, ok, on_gpu, strange, *hostile_steps()]


def hostile_steps() -> list[dict[str, Any]]:
    """Steps of two batch sizes on the GPUs of two machines."""
    contents = []
    for batch, machine in product((16, 32), ("0123456789ab", "ffffffffffff")):
        content = make_step_content(make_step_cell("torch", device="gpu"), [1.0, 1.0, 1.0, 1.0])
        content["cell"] |= {**dict.fromkeys(("tool", "model", "precision"), HOSTILE), "batch_size": batch}
        host = {**HOST, "machine": machine, "gpus": [{"name": HOSTILE}], "cpu": HOSTILE}
        contents.append({**content, "host": host})
    return contents


def test_hostile_texts_of_a_record_harm_no_table() -> None:
    tokens = walk(PARSER.parse(render_markdown([Record(content=content) for content in hostile_contents()])))
    assert {token.type for token in tokens} <= HARMLESS
    assert all(str(token.attrGet("href")).startswith("#") for token in tokens if token.type == "link_open")
    own_code = {"one short run", "long job", "start", "first step", "checks", "end", "forward", "gradients", "train"}
    assert {token.content for token in tokens if token.type == "code_inline"} <= own_code
    text = "".join(token.content for token in tokens if token.type in ("text", "code_inline"))
    assert not set(text) & set("\u202e\u2066\u200b\u0000")
    columns = [token for token in tokens if token.type in ("tr_open", "td_open", "th_open")]
    rows = "".join("|" if token.type == "tr_open" else "x" for token in columns).split("|")[1:]
    assert len(rows) > 10
    assert all(len(row) > 1 for row in rows)


def test_links_lead_to_the_headings_of_their_sections() -> None:
    twice = [Section(title="a_b: x=1, 2.5", parts=[Section(title="CPU", parts=[Section(title="Results")])])] * 2
    assert render_contents("Results", [*twice, Section(title="Results")], depth=2) == [
        "- [a_b: x=1, 2.5](#a_b-x1-25)",
        "  - [CPU](#cpu)",
        "- [a_b: x=1, 2.5](#a_b-x1-25-1)",
        "  - [CPU](#cpu-1)",
        "- [Results](#results-3)",
        "",
    ]


def test_a_section_within_a_section_has_a_deeper_heading() -> None:
    inner = Section(title="in|ner", lines=["y", ""])
    assert render_sections([Section(title="outer", lines=["x", ""], parts=[inner])]) == [
        "## outer", "", "x", "", "### in\\|ner", "", "y", "",
    ]  # fmt: skip


def test_the_same_reason_is_noted_once() -> None:
    notes = Notes()
    assert [notes.mark(reason) for reason in ("a", "b", "a")] == [" [1]", " [2]", " [1]"]
    assert notes.lines() == ["1. a", "2. b", ""]


def test_nouns_are_counted() -> None:
    assert [counted(count, "run") for count in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
