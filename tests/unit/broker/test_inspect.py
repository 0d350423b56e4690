import pytest

from broker.inspect import _asked, _Refused, _start
from dataplane.errors import BadPosition, StoreFault, StoreUnavailable


async def _raises(fault: StoreFault) -> None:
    raise fault


@pytest.mark.parametrize(("fault", "status"), [(BadPosition("'x' is none"), 400), (StoreUnavailable("away"), 503)])
async def test_a_position_that_is_none_is_the_askers_mistake_and_not_the_stores(fault: StoreFault, status: int) -> None:
    with pytest.raises(_Refused, match=str(fault)) as refused:
        await _asked(_raises(fault))
    assert refused.value.status == status


@pytest.mark.parametrize("text", ["", "2026-01-31T00:00:00"])
def test_a_start_that_is_none_is_refused_as_everything_else_is(text: str) -> None:
    with pytest.raises(_Refused, match="expected latest, earliest") as refused:
        _start(text)
    assert refused.value.status == 400
