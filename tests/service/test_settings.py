"""Settings: where they come from, and that nothing wrong gets past the start."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from dit_serve.service.errors import SettingsError
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.settings import SECRET, add_flags, read_settings, setting_fields


def test_the_defaults_serve_all_demo_models_on_loopback() -> None:
    settings = read_settings({}, {})
    assert settings.models == ("digits-64", "digits-128", "fashion-64")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_default() -> None:
    environment = {"DIT_PORT": "1", "DIT_MAX_BATCH_SEQUENCES": "4"}
    settings = read_settings(environment, {"port": "2"})
    assert (settings.port, settings.max_batch_sequences, settings.max_queue_sequences) == (2, 4, 512)


def test_models_are_split_at_commas() -> None:
    assert read_settings({"DIT_MODELS": "a, b ,/c/d"}, {}).models == ("a", "b", "/c/d")


def test_models_given_as_arguments_are_taken_whole_and_win_over_the_variable() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = vars(parser.parse_args(["a,b.pt", "small=/c", "--port", "1"]))
    settings = read_settings({"DIT_MODELS": "d"}, flags)
    assert (settings.models, settings.port) == (("a,b.pt", "small=/c"), 1)


def test_a_checkpoint_may_be_served_under_two_names() -> None:
    assert read_settings({"DIT_MODELS": "a=/x,b=/x,/x"}, {}).models == ("a=/x", "b=/x", "/x")


def test_the_limits_are_one_value_of_settings_like_any_other() -> None:
    settings = read_settings({"DIT_WRITE_SECONDS": "7"}, {"max_body_bytes": "2048"})
    assert settings.limits == HttpLimits(write_seconds=7.0, max_body_bytes=2048)
    assert {field.name for field in dataclasses.fields(HttpLimits)} < setting_fields().keys()


def test_an_alias_is_a_name_of_a_model_whose_name_may_have_a_slash() -> None:
    settings = read_settings({"DIT_MODEL_ALIASES": "gpt-image-1=facebook/DiT-XL-2-256, dall-e-3=b=c"}, {})
    assert settings.aliases == {"gpt-image-1": "facebook/DiT-XL-2-256", "dall-e-3": "b=c"}
    assert read_settings({}, {}).aliases == {}


def test_devices_are_split_at_commas_and_may_repeat() -> None:
    assert read_settings({"DIT_DEVICES": "cpu, cpu"}, {}).devices == ("cpu", "cpu")
    assert read_settings({}, {}).devices == ()


@pytest.mark.parametrize(
    ("text", "level"),
    [("INFO", "info"), ("Debug", "debug"), ("warn", "warning"), ("WARN", "warning"), ("Warning", "warning")],
)
def test_the_log_level_is_taken_as_other_programs_spell_it(text: str, level: str) -> None:
    assert read_settings({"DIT_LOG_LEVEL": text}, {}).log_level == level
    assert read_settings({}, {"log_level": text}).log_level == level


def test_origins_are_split_at_commas() -> None:
    settings = read_settings({"DIT_CORS_ORIGINS": "https://a.org, http://localhost:3000,http://[::1]:80"}, {})
    assert settings.cors_origins == ("https://a.org", "http://localhost:3000", "http://[::1]:80")
    assert read_settings({"DIT_CORS_ORIGINS": "*"}, {}).cors_origins == ("*",)


def test_an_empty_variable_counts_as_absent() -> None:
    assert read_settings({"DIT_PORT": "", "DIT_VAE": ""}, {}) == read_settings({}, {})


def test_white_space_around_a_variable_does_not_count() -> None:
    assert read_settings({"DIT_PORT": " 8000\n", "DIT_VAE": "\n"}, {}) == read_settings({}, {})


def test_a_variable_that_a_flag_takes_the_place_of_may_be_wrong() -> None:
    assert read_settings({"DIT_PORT": '"x"'}, {"port": "1"}).port == 1


@pytest.mark.parametrize(("sent", "path"), [("/images", "/images"), ("/a/b.c/", "/a/b.c"), ("/", ""), ("", "")])
def test_a_root_path_ends_without_a_slash(sent: str, path: str) -> None:
    assert read_settings({}, {"root_path": sent}).root_path == path


@pytest.mark.parametrize(("texts", "value"), [("0 false No off", False), ("1 true YES on", True)])
def test_switches_are_words_or_digits(texts: str, value: bool) -> None:
    for text in texts.split():
        assert read_settings({"DIT_FILL_ACROSS_GUIDANCE": text}, {}).fill_across_guidance is value


@pytest.mark.parametrize(
    ("environment", "flags", "sentence"),
    [
        ({"DIT_PROT": "1"}, {}, "DIT_PROT is no setting; did you mean DIT_PORT?"),
        ({"DIT_XYZZY": "1"}, {}, "DIT_XYZZY is no setting; dit serve --help lists them"),
        ({"DIT_PORT": "65536"}, {}, "DIT_PORT is '65536': input should be less than or equal to 65535"),
        ({}, {"port": "high"}, "--port is 'high': input should be a valid integer"),
        ({"DIT_DRAIN_SECONDS": "nan"}, {}, "DIT_DRAIN_SECONDS is 'nan'"),
        ({"DIT_MODELS": ","}, {}, "DIT_MODELS"),
        ({"DIT_MODELS": "a,b,a"}, {}, "models has two that are called a: give one another name, NAME=CHECKPOINT"),
        ({"DIT_MODELS": "a=/x,a=/y"}, {}, "models has two that are called a"),
        ({}, {"checkpoints": ["a"], "models": "b"}, "models are given both as arguments and by --models"),
        ({"DIT_MAX_BATCH_SEQUENCES": "65"}, {}, "DIT_MAX_BATCH_SEQUENCES is '65': input should be less"),
        ({"DIT_BATCH_INVARIANT": "perhaps"}, {}, "DIT_BATCH_INVARIANT is 'perhaps'"),
        ({}, {"modulation_cache_bytes": "-1"}, "--modulation-cache-bytes is '-1': input should be greater"),
        ({"DIT_DEVICE": "cpu"}, {}, "DIT_DEVICE is no setting; did you mean DIT_DEVICES?"),
        ({"DIT_OPTIONS": "x"}, {}, "DIT_OPTIONS is no setting"),
        ({"DIT_DEVICES": "cpu,cuda:0"}, {}, "devices must be of one kind"),
        ({"DIT_STEP_TIMEOUT_SECONDS": "0"}, {}, "DIT_STEP_TIMEOUT_SECONDS is '0'"),
        ({"DIT_MAX_QUEUE_SEQUENCES": "31"}, {}, "DIT_MAX_QUEUE_SEQUENCES is '31'"),
        (
            {"DIT_MAX_QUEUE_SEQUENCES": "63", "DIT_MAX_BATCH_SEQUENCES": "64"},
            {},
            "max_queue_sequences (63) must be at least max_batch_sequences (64)",
        ),
        ({"DIT_PORT": "'8000'"}, {}, "DIT_PORT has quotation marks around its value"),
        ({"DIT_STANDBY": "maybe"}, {}, "DIT_STANDBY is 'maybe': must be true or false"),
        ({"DIT_ROOT_PATH": "images"}, {}, "DIT_ROOT_PATH is 'images': a path is / and letters"),
        ({}, {"root_path": "/a/../b"}, "--root-path is '/a/../b': a path is / and letters"),
        ({"DIT_ROOT_PATH": "/a//b"}, {}, "a path is / and letters"),
        ({"DIT_ROOT_PATH": '/"><script>'}, {}, "a path is / and letters"),
        ({"DIT_LOG_LEVEL": "loud"}, {}, "is 'loud': input should be 'debug', 'info', 'warning' or 'error'"),
        ({"DIT_CORS_ORIGINS": "https://a.org/"}, {}, "DIT_CORS_ORIGINS is 'https://a.org/': an origin is scheme://host"),
        ({"DIT_CORS_ORIGINS": "https://a.org,a.org"}, {}, "an origin is scheme://host"),
        ({"DIT_MODEL_ALIASES": "gpt-image-1"}, {}, "DIT_MODEL_ALIASES is 'gpt-image-1': an alias is NAME=MODEL"),
        ({"DIT_MODEL_ALIASES": "=a"}, {}, "an alias is NAME=MODEL"),
        ({"DIT_MODEL_ALIASES": "a=b,a=c"}, {}, "model_aliases gives one name twice: a=b, a=c"),
        ({"DIT_PROMPTS": "guess"}, {}, "DIT_PROMPTS is 'guess': input should be 'exact' or 'phrase'"),
    ],
)
def test_a_wrong_setting_is_told_in_a_sentence(
    environment: dict[str, str], flags: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(environment, flags)
    assert sentence in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"DIT_PORT.*; DIT_HEADER_SECONDS"):
        read_settings({"DIT_PORT": "x", "DIT_HEADER_SECONDS": "0"}, {})


def test_variables_of_other_programs_and_of_the_cache_are_left_alone() -> None:
    read_settings({"PATH": "/bin", "DITTO": "x", "DIT_CACHE": "/somewhere"}, {})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read_settings({}, {}).port = 1  # type: ignore[misc]


def test_every_setting_is_a_flag_with_its_variable_and_default_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name in setting_fields().keys() - SECRET:
        assert f"--{name.replace('_', '-')}" in text
        assert f"DIT_{name.upper()}" in text
    for name in SECRET:  # anybody can read a command line
        assert name.replace("_", "-") + " " not in text


def test_a_flag_that_is_not_given_leaves_no_trace() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert vars(parser.parse_args(["--max-batch-sequences", "3"])) == {"max_batch_sequences": "3"}
