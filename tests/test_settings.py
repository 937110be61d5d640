"""Settings are refused in sentences, and in the words by which other libraries know an argument that there is not."""

from __future__ import annotations

import gymnasium as gym
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.settings import Settings, UnknownSettingError


class Small(Settings):
    width: int = 4


def test_an_unknown_setting_is_a_type_error_and_a_value_error() -> None:
    for kind in (TypeError, ValueError):
        with pytest.raises(kind, match=r"There is no setting 'widht'. Did you mean 'width'\? Known settings: width\."):
            Small.parse({"widht": 3})


def test_a_bad_value_is_no_type_error() -> None:
    with pytest.raises(ValueError, match="The setting width='wide' is refused") as refused:
        Small.parse({"width": "wide"})
    assert not isinstance(refused.value, TypeError)


@pytest.mark.parametrize("id", ["kdgym/DataGen-Math-v0", "kdgym/Orchestrate-Math-v0", "kdgym/Snapshot-CartPole-v0"])
def test_gymnasium_passes_the_words_on(id: str) -> None:
    with pytest.raises(UnknownSettingError, match="unexpected keyword argument 'frameskip'"):
        gym.make(id, frameskip=1)


def test_later_settings_are_written_where_they_differ_from_their_default() -> None:
    class Early(Settings):
        later = ("kinds",)
        size: int = 3
        kinds: int = 0

    assert Early().model_dump() == {"size": 3}
    assert Early(kinds=2).model_dump(mode="json") == {"size": 3, "kinds": 2}
    assert Early.parse(Early(kinds=0, size=4).model_dump()) == Early(size=4)
