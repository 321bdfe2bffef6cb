"""What a comment may hold: everything, or less of it, and nothing that a candidate could do with it."""

import re
from dataclasses import replace

import pytest

from gate.github.annotations import annotate, workflow_command
from gate.records import Build, Check, Correctness, Evaluation, Outcome, Status
from gate.report.escaping import safe
from gate.report.markdown import LEVELS, MAX_COMMENT, Surroundings, markdown
from tests.support import examples

HOSTILE = (
    "</details><img src=x>|`code` ``` @everyone [a](https://evil.test) ![b](//x) #1 $x$ <!-- -->\r\n"
    "## big \u202e\x1b[0m"
)
FENCED = re.compile(r"^(`{3,})text\n.*?^\1$", re.DOTALL | re.MULTILINE)


def failed(message: str = HOSTILE, log: str = "") -> object:
    build = Build(examples.IMPL, Status.BUILD_FAILED, message, log=log)
    return examples.run(examples.measurement(evaluations=(), build=build))


def many(count: int, ratio: float = 0.8, message: str = "") -> object:
    """A run over many workloads, of which the last is incorrect where a message says how."""
    taken = [replace(examples.evaluation(), workload=examples.workload(seq_len=each + 1)) for each in range(count)]
    if message:
        wrong = Correctness(Status.INCORRECT, message, (Check("finite", False, message),))
        taken[-1] = Evaluation(taken[-1].workload, wrong)
    return examples.run(examples.measurement(*taken))


@pytest.mark.parametrize(
    ("mark", "left"),
    [
        ("|", "|"),
        ("`", "`"),
        ("<", "<img"),
        ("@", "@everyone"),
        ("](", "]("),
        ("://", "://"),
        ("#", " #1"),
        ("$", "$x"),
    ],
)
def test_a_mark_of_markdown_in_a_candidates_words_is_not_one_afterwards(mark, left):
    assert mark in HOSTILE
    assert left not in safe(HOSTILE, 1_000)


def test_a_candidates_words_stay_on_one_line_and_in_one_direction():
    assert safe(HOSTILE, 1_000).splitlines() == [safe(HOSTILE, 1_000)]
    assert not {"\u202e", "\x1b", "\r"} & set(safe(HOSTILE, 1_000))


def test_plain_words_stay_what_they_are():
    plain = "ratio 0.8 [0.7, 0.9] to sdpa:flash (32,8,512,64), 1.25× ±0.4%: max error 2.0e-07"
    assert safe(plain, 1_000) == plain


def test_a_long_sentence_says_how_much_is_missing():
    assert safe("x" * 100, 10) == "xxxxxxxxxx … (90 characters more in run.json)"


def test_hostile_words_leave_the_comments_form_as_it_is():
    text = markdown(failed(log=f"{HOSTILE}\n````\n</details>"))
    outside = FENCED.sub("", text)
    assert outside.count("<details") == outside.count("</details>")
    assert "<img" not in outside
    assert "evil.test](" not in outside


def test_a_comment_that_is_too_long_is_written_with_less_and_never_cut():
    run = many(220, message=HOSTILE)
    assert len(markdown(run, most=10**9)) > MAX_COMMENT
    text = markdown(run)
    assert len(text) <= MAX_COMMENT
    assert run.verdict.outcome.value.upper() in text.splitlines()[0]
    outside = FENCED.sub("", text)
    assert outside.count("<details") == outside.count("</details>")
    assert "```" not in outside
    assert "more of 220 workloads" in text
    assert "the job's summary" in text


def test_the_rows_that_did_not_pass_are_those_that_are_kept():
    text = markdown(many(240, message="wrong"))
    assert "more of 240 workloads" in text
    assert text.count("❌ rejected") == 1
    assert "✅ pass" in text


@pytest.mark.parametrize("level", LEVELS[1:])
def test_every_level_tells_no_more_than_the_one_before(level):
    before = LEVELS[LEVELS.index(level) - 1]
    assert level.sections <= before.sections
    assert (level.lines, level.rows, level.warnings, level.chars) <= (
        before.lines, before.rows, before.warnings, before.chars,
    )  # fmt: skip


@pytest.mark.parametrize("character", ["|", "@", "😀", "`", "#"])
def test_even_the_worst_words_fit(character):
    run = many(150, message=character * 300_000)
    around = Surroundings(warnings=(character * 100_000,) * 100)
    assert len(markdown(run, around)) <= MAX_COMMENT
    assert len(markdown(failed(character * 200_000, character * 200_000))) <= MAX_COMMENT


def test_the_comment_that_fits_tells_everything():
    run = examples.run()
    assert "Method" in markdown(run)
    assert "Shortened to GitHub" not in markdown(run)


def test_every_outcome_has_its_badge():
    for outcome in Outcome:
        verdict = replace(
            examples.run().verdict,
            outcome=outcome,
            gates=(replace(examples.run().verdict.gates[0], outcome=outcome),),
        )
        assert f"badge/kernel%20gate-{outcome}-" in markdown(replace(examples.run(), verdict=verdict))


def test_counters_that_were_not_read_are_not_measured_and_the_remedy_is_named():
    (line,) = [line for line in markdown(examples.run()).splitlines() if line.startswith("Nsight Compute")]
    assert "not measured" in line
    assert "kernel-gate doctor" in line


def test_a_gate_that_did_not_pass_is_an_error_at_the_candidates_file(python_candidate):
    kernels = python_candidate("", name="honest").parent
    run = many(2, message="wrong")
    (line,) = annotate(run, str(kernels))
    assert line.startswith(
        f"::error file={kernels}/honest/kernel.py,line=1,title=Kernel Gate%3A correctness (1%2C2%2C2"
    )
    assert line.endswith("::wrong")


def test_a_candidate_that_is_not_here_is_annotated_at_its_kernel_toml():
    (line,) = annotate(many(2, message="wrong"), "nowhere")
    assert "file=nowhere/honest/kernel.toml" in line


LOG = """In file included from x:
/tmp/build/attention.cu:12:5: error: 'foo' was not declared
attention.cu(40): error: identifier "bar" is undefined
attention.cu:50:1: warning: unused"""


def test_compiler_errors_are_annotated_at_their_lines():
    lines = list(annotate(failed("the compiler failed", LOG)))
    assert [line.partition("::'")[0].partition("::i")[0].split(",title")[0] for line in lines] == [
        "::error file=kernels/honest/attention.cu,line=12",
        "::error file=kernels/honest/attention.cu,line=40",
    ]


def test_an_undecided_verdict_is_a_warning_and_a_pass_a_notice():
    undecided = examples.run(examples.measurement(workloads=(examples.workload(), examples.workload(seq_len=9))))
    assert next(annotate(undecided)).startswith("::warning ")
    assert next(annotate(examples.run())).startswith("::notice ")


def test_no_words_of_a_candidate_begin_another_workflow_command():
    line = workflow_command("error", "kernels/a,b:c", "t,::", "one\n::add-mask::x\r%0A::stop-commands::y")
    assert len(line.splitlines()) == 1
    assert line.startswith("::error file=kernels/a%2Cb%3Ac,line=1,title=t%2C%3A%3A::one ")
    assert "%0A" not in line


def test_at_most_ten_annotations_are_made():
    wrong = Correctness(Status.INCORRECT, "wrong", (Check("finite", False, "wrong"),))
    taken = [Evaluation(examples.workload(seq_len=each + 1), wrong) for each in range(30)]
    assert len(list(annotate(examples.run(examples.measurement(*taken))))) == 10
