"""docs/cli.md is what the commands' own help says."""

from pathlib import Path

from scripts.cli import COMMANDS
from scripts.reference import page

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_commands_say_now():
    assert page() == PAGE, "run `make reference`"


def test_every_command_has_a_section_with_its_help_option():
    sections = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
    assert list(sections) == list(COMMANDS)
    assert all("| `-h, --help` |" in section for section in sections.values())


def test_a_bar_between_choices_does_not_split_a_cell():
    rows = [line.replace("\\|", "") for line in PAGE.splitlines() if line.startswith("| `")]
    assert {row.count("|") for row in rows} == {3}
