"""One small workspace with its report, for all tests of the page."""

import pytest
from small_workspace import write_workspace

from goafetch.report.page import make_report


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A workspace with one stack and one flat."""
    return write_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def page(workspace):
    """The workspace's report."""
    return make_report(workspace)
