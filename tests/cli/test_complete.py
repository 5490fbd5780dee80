"""What a shell offers where a value is typed."""

import os
import subprocess
import sys

import pytest

from goafetch.cli import complete

BASH = {"_GOAFETCH_COMPLETE": "complete_bash"}


def offered(line: str) -> list[str]:
    """What bash is given for the last word of a command line."""
    words = ["goafetch", *line.split(" ")]
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    program = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'goafetch'; from goafetch.cli import main; main()",
    ]
    done = subprocess.run(program, env=os.environ | asked | BASH, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_a_shell_is_given_the_values_of_an_option():
    assert offered("run X --filter Ks") == ["Ks", "Kshort"]
    assert offered("dataselect x.fits --tags FLAT,LAMP") == ["FLAT,LAMPOFF", "FLAT,LAMPON"]


OFFSET_SKY = {f"skyCorrect:offset_sky={value}" for value in ("True", "False", "auto")}


@pytest.mark.parametrize(
    ("function", "typed", "expected"),
    [
        ("filters", "Br", {"BrG"}),
        ("recipes", "reduce", {"reduce", "reduce_nostack"}),
        ("steps", "sky", {"skyCorrect"}),
        ("formats", "", {"table", "json", "csv", "names"}),
        ("descriptors", "object,exp", {"object,exposure_time"}),
        ("qa", "Not", {"NotFail"}),
        ("classes", "par", {"partnerCal"}),
        ("types", "DA", {"DARK"}),
        ("instruments", "GSA", {"GSAOI"}),
        ("imagers", "F", {"F2", "FLAM"}),
        ("kinds", "processed_b", {"processed_bpm"}),
        ("faults", "cap", {"captive-portal"}),
        ("catalogs", "g", {"gaia"}),
        ("phot_catalogs", "n", {"none"}),
        ("parameters", "skyCorrect:offset_sky=", OFFSET_SKY),
        ("parameters", "stackFrames:ls", {"stackFrames:lsigma=5.0"}),
        ("parameters", "noStep:x=", set()),
    ],
)  # fmt: skip
def test_values_begin_as_typed(function, typed, expected):
    assert set(getattr(complete, function)(typed)) == expected
