from __future__ import annotations

import pytest

from autoconfig.testing import EnvironmentRep, demo


@pytest.mark.parametrize("rep", demo.ENVIRONMENTS, ids=lambda rep: rep.env_id)
def test_each_environment_has_the_shape_that_the_service_sends(rep: EnvironmentRep) -> None:
    params = rep.to_params()
    assert rep.contradiction() is None
    assert params.accepted_sdk_keys[0].value == params.sdk_key
    assert [key.value for key in params.accepted_mobile_keys] == [params.mobile_key]
    assert rep.to_json().keys() >= {"sdkKeys", "mobileKeys"}


def test_one_environment_has_a_key_that_expires() -> None:
    params = demo.STAGING.to_params()
    _, old = params.accepted_sdk_keys
    assert params.expiring_sdk_key is not None
    assert (old.value, old.expiration) == (params.expiring_sdk_key.key, params.expiring_sdk_key.expiration)


def test_no_key_is_used_twice() -> None:
    keys = [key.value for rep in demo.ENVIRONMENTS for key in (*rep.sdk_keys, *rep.mobile_keys)]
    assert len(keys) == len(set(keys)) == 7
