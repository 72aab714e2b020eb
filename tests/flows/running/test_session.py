import pytest


@pytest.mark.usefixtures("prefect_harness")
def test_work_runs_as_a_flow_of_its_name_with_its_arguments():
    from flows.running.session import as_flow

    def work(number: "NotImported", *, times: int) -> tuple[str, int]:  # noqa: F821 - as under TYPE_CHECKING
        from prefect.runtime import flow_run

        return flow_run.flow_name, number * times

    assert as_flow("some-work", work, 3, times=2) == ("some-work", 6)


@pytest.mark.usefixtures("prefect_harness")
def test_an_error_of_the_work_is_the_error_of_the_command():
    from flows.running.session import as_flow

    def work() -> None:
        raise LookupError("no such layer")

    with pytest.raises(LookupError, match="no such layer"):
        as_flow("some-work", work)


def test_a_scratch_workspace_is_gone_afterwards():
    from flows.running.session import scratch

    with scratch() as workspace:
        workspace.prepared.mkdir(parents=True)
    assert not workspace.root.exists()
